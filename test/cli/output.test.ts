import { describe, expect, test, vi } from 'vitest';
import { createPaint, printable, printableLine, reportFault, writeJson } from '../../src/cli/output.ts';
import { ConfigurationFault, Fault } from '../../src/errors.ts';
import { createCapturedIo } from '../support/captured-io.ts';

describe('output', () => {
  test('colours nothing where stdout is no terminal', () => {
    const { io } = createCapturedIo({ isTerminal: false });
    expect(createPaint(io).bad('no')).toBe('no');
  });

  test('colours on a terminal, unless NO_COLOR is set', () => {
    const { io } = createCapturedIo({ isTerminal: true });
    vi.stubEnv('FORCE_COLOR', '1');
    expect(createPaint(io).bad('no')).toBe('\x1b[31mno\x1b[39m');
    vi.stubEnv('FORCE_COLOR', undefined);
    vi.stubEnv('NO_COLOR', '1');
    expect(createPaint(io).bad('no')).toBe('no');
    vi.unstubAllEnvs();
  });

  test('makes control characters visible, and keeps tab, newline and letters of any script', () => {
    expect(printable('a\tb\nc')).toBe('a\tb\nc');
    expect(printable('\x1b[2J\r\x07\x7f\x9b')).toBe('\\x1b[2J\\x0d\\x07\\x7f\\x9b');
    expect(printable('Gruß 門 🚪')).toBe('Gruß 門 🚪');
  });

  test('lets no text begin a line of its own, nor show in another order than it has', () => {
    expect(printableLine('agent\n::error::x\r\n##[command]y')).toBe('agent\\x0a::error::x\\x0d\\x0a##[command]y');
    expect(printable('a\u202eb\u2066c\u2028d')).toBe('a\\u202eb\\u2066c\\u2028d');
  });

  test('writes one JSON value a line', () => {
    const { io, stdout } = createCapturedIo();
    writeJson(io.stdout, { a: 1 });
    writeJson(io.stdout, [2]);
    expect(stdout()).toBe('{"a":1}\n[2]\n');
  });
});

describe('reportFault', () => {
  const configuration = new ConfigurationFault([{ file: 'postern.yaml', line: 2, column: 3, message: 'unknown key' }]);

  test.each([
    [configuration, 2],
    [new Fault('usage', 'wrong option'), 2],
    [new Fault('unreachable', 'nobody there'), 3],
  ])('maps faults to exit codes (%#)', (fault, code) => {
    const { io, stdout, stderr } = createCapturedIo();
    expect(reportFault(io, fault, { json: false })).toBe(code);
    expect(stderr()).toContain(fault.message);
    expect(stdout()).toBe('');
  });

  test('gives problems as JSON with file, line and column', () => {
    const { io, stdout, stderr } = createCapturedIo();
    reportFault(io, configuration, { json: true });
    expect(JSON.parse(stdout())).toMatchObject({
      error: 'configuration',
      problems: [{ file: 'postern.yaml', line: 2, column: 3 }],
    });
    expect(stderr()).toBe('');
  });

  test('throws on what is a mistake of ours', () => {
    const { io } = createCapturedIo();
    const bug = new TypeError('bug');
    expect(() => reportFault(io, bug, { json: false })).toThrow(bug);
  });
});
