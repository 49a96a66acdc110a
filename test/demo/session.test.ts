import { chmod, mkdtemp, readdir, readFile, rename, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type DemoSession, readSession, removeSession, writeSession } from '../../src/demo/session.ts';

const session: DemoSession = {
  origin: 'http://127.0.0.1:8080',
  adminOrigin: 'http://127.0.0.1:9901',
  issuer: 'http://127.0.0.1:9000',
  audience: 'http://127.0.0.1:8080',
  clientId: 'agent-7',
  clientSecretFile: '/tmp/somewhere/agent-7',
  scope: 'repo:read',
};

let folder: string;
const theFile = async () => join(folder, (await readdir(folder))[0] ?? 'none');
const read = () => readSession(folder, session.origin);

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'postern-session-test-'));
});

afterEach(() => rm(folder, { recursive: true, force: true }));

describe('the session of a running demo', () => {
  test('is read back as written, from a file that only its user can read', async () => {
    await writeSession(folder, session);
    expect((await stat(await theFile())).mode & 0o777).toBe(0o600);
    expect(await read()).toEqual(session);
  });

  test('is none where there is no file', async () => {
    expect(await read()).toBeNull();
  });

  test('is one of several, by the port that agents call', async () => {
    const other = { ...session, origin: 'http://127.0.0.1:8081' };
    await writeSession(folder, session);
    await writeSession(folder, other);
    expect(await read()).toEqual(session);
    expect(await readSession(folder, other.origin)).toEqual(other);
  });

  test.each(['http://localhost:8080', 'https://127.0.0.1:8080', 'http://192.0.2.1:8080'])(
    'is not that of %s',
    async (origin) => {
      await writeSession(folder, session);
      expect(await readSession(folder, origin)).toBeNull();
    },
  );

  test('is replaced by a later demo, whose session an earlier one does not remove', async () => {
    const later = { ...session, clientSecretFile: '/tmp/elsewhere/agent-7' };
    await writeSession(folder, session);
    await writeSession(folder, later);
    await removeSession(folder, session);
    expect(await read()).toEqual(later);
    await removeSession(folder, later);
    expect(await readdir(folder)).toEqual([]);
  });

  test('is not believed from a file that others may read or write', async () => {
    await writeSession(folder, session);
    await chmod(await theFile(), 0o620);
    expect(await read()).toBeNull();
  });

  test('is not read through a symbolic link', async () => {
    await writeSession(folder, session);
    const file = await theFile();
    await rename(file, join(folder, 'moved'));
    await symlink(join(folder, 'moved'), file);
    expect(await read()).toBeNull();
  });

  test('is not written through a symbolic link', async () => {
    await writeSession(folder, session);
    const file = await theFile();
    const target = join(folder, 'target');
    await writeFile(target, 'precious');
    await rm(file);
    await symlink(target, file);
    await writeSession(folder, session);
    expect(await readFile(target, 'utf8')).toBe('precious');
    expect(await read()).toEqual(session);
  });

  test.each(['', '{}', '{"origin":"http://127.0.0.1:8080"}', 'x'.repeat(9000)])(
    'is none where the file holds no session (%#)',
    async (text) => {
      await writeSession(folder, session);
      await writeFile(await theFile(), text);
      expect(await read()).toBeNull();
    },
  );

  test('is a fault where it cannot be written', async () => {
    await expect(writeSession(join(folder, 'missing'), session)).rejects.toMatchObject({ code: 'demo_session' });
  });
});
