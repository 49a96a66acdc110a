/** How `postern call` finds the demo that this user is running: nothing typed, no secret on a command line. */

import { constants } from 'node:fs';
import { open, rm } from 'node:fs/promises';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';
import { Fault } from '../errors.ts';

const sessionSchema = z.object({
  origin: z.url(),
  adminOrigin: z.url(),
  issuer: z.url(),
  audience: z.string(),
  clientId: z.string(),
  clientSecretFile: z.string(),
  scope: z.string(),
});

/** What a client of the running demo needs to know. Names the file of the client's secret, never the secret. */
export type DemoSession = z.output<typeof sessionSchema>;

const sessionBytesMax = 8192;

/** Where sessions are: a folder that a demo and a call of the same user both find. */
export const usualSessionFolder = tmpdir();

// One file for each user and port, so that several demos can run side by side.
function fileOf(folder: string, origin: string): string {
  const { port } = new URL(origin);
  return join(folder, `postern-demo-${userInfo().uid}-${port}.json`);
}

/** Replaces what an earlier demo on the same port left. Throws a Fault where another user holds the name. */
export async function writeSession(folder: string, session: DemoSession): Promise<void> {
  const file = fileOf(folder, session.origin);
  try {
    await rm(file, { force: true });
    // wx: never through a link that someone put there first, and never readable by anyone else.
    const handle = await open(file, 'wx', 0o600);
    await handle.writeFile(JSON.stringify(session)).finally(() => handle.close());
  } catch (fault) {
    throw new Fault('demo_session', `${file} cannot be written; remove it, or ask its owner to`, fault);
  }
}

/** The session of the demo at an origin, or null where this user runs none there. */
export async function readSession(folder: string, origin: string): Promise<DemoSession | null> {
  try {
    // Never through a link, and never waiting for the other end of a pipe.
    const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
    const handle = await open(fileOf(folder, origin), flags);
    try {
      const status = await handle.stat();
      // What others could have written is not believed.
      const isOurs = status.uid === userInfo().uid && (status.mode & 0o077) === 0;
      if (!status.isFile() || !isOurs || status.size > sessionBytesMax) return null;
      const session = sessionSchema.parse(JSON.parse(await handle.readFile('utf8')));
      return session.origin === origin ? session : null;
    } finally {
      await handle.close();
    }
  } catch {
    return null;
  }
}

/** Removes the session, unless a later demo has replaced it. */
export async function removeSession(folder: string, session: DemoSession): Promise<void> {
  const current = await readSession(folder, session.origin);
  if (current?.clientSecretFile === session.clientSecretFile) await rm(fileOf(folder, session.origin), { force: true });
}
