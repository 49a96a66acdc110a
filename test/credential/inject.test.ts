import { inspect } from 'node:util';
import { describe, expect, it } from 'vitest';
import type { Config } from '../../src/config/schema.ts';
import { createInject, injectedFieldNames } from '../../src/credential/inject.ts';
import { Secret } from '../../src/credential/secret-text.ts';
import { isDeny } from '../../src/decision.ts';
import type { Injection, Route } from '../../src/exchange.ts';

type Inject = Config['credentials'][string]['inject'];

function injectWith(inject: Inject, secrets: { current: Secret | null }) {
  const get = createInject({
    credentials: { key: { from: { env: 'KEY' }, inject } },
    secrets: { current: () => secrets.current, problem: () => (secrets.current === null ? 'cannot be read' : null) },
  });
  return () => get({ credential: 'key' } as Route);
}

function injection(inject: Inject, text: string): Injection {
  const made = injectWith(inject, { current: new Secret(text, 1) })();
  if (isDeny(made)) throw new Error(made.cause);
  return made;
}

describe('createInject', () => {
  it('puts the secret into a template, every time it is named', () => {
    expect(injection({ header: 'x-api-key', value: 'a {secret} b {secret}' }, 'k$&y').fields).toEqual([
      ['x-api-key', 'a k$&y b k$&y'],
    ]);
  });

  it('makes basic credentials in UTF-8', () => {
    expect(injection({ basic: { username: 'postern' } }, 'pä:ss').fields).toEqual([
      ['authorization', `Basic ${Buffer.from('postern:pä:ss').toString('base64')}`],
    ]);
  });

  it('makes fields once a version', () => {
    const secrets = { current: new Secret('one', 1) };
    const inject = injectWith({ header: 'x-api-key', value: '{secret}' }, secrets);
    const first = inject();
    expect(inject()).toBe(first);
    secrets.current = new Secret('two', 2);
    expect(inject()).toMatchObject({ name: 'key', version: 2 });
    expect((inject() as Injection).fields).toEqual([['x-api-key', 'two']]);
  });

  it('denies while the secret can not be had, even though it was there before', () => {
    const secrets: { current: Secret | null } = { current: new Secret('one', 1) };
    const inject = injectWith({ header: 'x-api-key', value: '{secret}' }, secrets);
    expect(inject()).toMatchObject({ version: 1 });
    secrets.current = null;
    expect(inject()).toMatchObject({ effect: 'deny', reason: 'credential_unavailable' });
  });

  it('denies where the credential is not declared', () => {
    const inject = createInject({ credentials: {}, secrets: { current: () => null, problem: () => null } });
    expect(inject({ credential: 'lost' } as Route)).toMatchObject({ reason: 'credential_unavailable' });
  });

  it('never prints its fields', () => {
    const made = injection({ header: 'x-api-key', value: '{secret}' }, 'hunter2');
    const printed = [
      `${made}`,
      JSON.stringify(made),
      inspect(made, { depth: 9, showHidden: true }),
      JSON.stringify({ ...made }),
    ];
    expect(printed.join()).not.toContain('hunter2');
    expect(printed.join()).toContain('key');
  });

  it('names the fields that credentials use', () => {
    const from = { env: 'KEY' };
    expect(
      injectedFieldNames({
        a: { from, inject: { header: 'x-api-key', value: '{secret}' } },
        b: { from, inject: { basic: { username: 'x' } } },
        c: { from, inject: { header: 'x-api-key', value: '{secret}' } },
      }),
    ).toEqual(['x-api-key', 'authorization']);
  });
});
