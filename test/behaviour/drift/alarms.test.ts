import { describe, expect, it } from 'vitest';
import { decodeAlarms, encodeAlarms } from '../../../src/behaviour/drift/alarms.ts';
import { play } from './agents.ts';

describe('alarms in the store', () => {
  it('are read back as they were written, whatever they say', () => {
    const own = play();
    own.live(600);
    own.fleet.peers = 20;
    const path = (letter: string) => `GET ${`/${letter.repeat(100)}`.repeat(60)}`;
    const paths = ['a', 'b', 'c', 'd'].map(path);
    for (let index = 0; index < 200; index++) own.call(paths[index % 4] ?? '');
    const list = [path('e'), path('f'), paths[1] ?? ''].map((action, index) => {
      const judgement = own.call(action);
      return { decision: `d${index}`, atMs: own.now(), explanation: own.drift.explain(own.agent, judgement) };
    });
    expect(list[1]?.explanation.top.map(({ feature }) => feature)).toContain('peers');
    const alarms = { sinceMs: 0, list };
    expect(decodeAlarms(encodeAlarms(alarms))).toEqual(alarms);
  });
});
