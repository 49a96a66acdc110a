/** `postern run`: the sidecar itself, from start to a drained end. */

import { compose } from '../compose.ts';
import { loadWhole } from '../vet-configuration.ts';
import { type ExitCode, exitCodes, type Io, reportFault, writeJson, writeLine } from './output.ts';

export type RunOptions = {
  readonly config: string;
  readonly json: boolean;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Settles when the process is asked to end. */
  readonly stopped: Promise<unknown>;
  /** Takes what is to be done when the process is asked to read its files again. */
  readonly onHangup: (reread: () => void) => void;
};

export async function run(options: RunOptions, io: Io): Promise<ExitCode> {
  try {
    const sidecar = await compose({ configuration: await loadWhole(options.config, options.env), env: options.env });
    options.onHangup(() => void sidecar.hangUp());
    // Audit records may own stdout, so what people read goes to stderr.
    if (options.json) writeJson(io.stderr, { listening: sidecar.origin, admin: sidecar.adminOrigin });
    else writeLine(io.stderr, `postern: listening on ${sidecar.origin}, admin on ${sidecar.adminOrigin}`);
    await options.stopped;
    await sidecar.drain();
    return exitCodes.done;
  } catch (fault) {
    return reportFault(io, fault, options);
  }
}
