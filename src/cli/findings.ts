/** What `postern check` found, in the forms in which it is told. */

import { relative } from 'node:path';
import { formatProblem } from '../errors.ts';
import { pointAt } from '../policy/rule-files.ts';
import { readYaml } from '../yaml-source.ts';
import { type Paint, printable } from './output.ts';

/** One finding. The members are those of the JSON output. */
export type Told = {
  readonly level: 'error' | 'warning';
  readonly code: string;
  readonly file: string;
  readonly line?: number | undefined;
  readonly column?: number | undefined;
  readonly rule?: string | undefined;
  readonly message: string;
  readonly hint?: string | undefined;
};

/** For each finding the line that it is about, with a caret; null where no line is known or the file has none. */
export async function excerptsOf(told: readonly Told[]): Promise<readonly (string | null)[]> {
  const texts = new Map<string, Promise<string | null>>();
  return Promise.all(
    told.map(async ({ file, line, column }) => {
      if (line === undefined || column === undefined) return null;
      const reading = texts.get(file) ?? textIn(file);
      texts.set(file, reading);
      const text = await reading;
      return text === null ? null : pointAt(text, line, column);
    }),
  );
}

/** Null where it is no YAML that can be read. What a secret's file holds is never shown, because no line is known. */
async function textIn(file: string): Promise<string | null> {
  const source = await readYaml(file);
  return 'value' in source ? source.text : null;
}

/** For people: place, message and hint, and the line with its caret. */
export function textOf(told: Told, excerpt: string | null, paint: Paint): string {
  const [place = '', said = ''] = splitPlace(told);
  const hint = told.hint === undefined ? '' : `; ${told.hint}`;
  const label = told.level === 'warning' ? `${paint.warning('warning')}: ` : '';
  const code = told.level === 'warning' ? paint.faint(` [${told.code}]`) : '';
  const head = `${paint.strong(printable(place))}: ${label}${printable(said + hint)}${code}`;
  if (excerpt === null) return head;
  const [line = '', caret = ''] = excerpt.split('\n');
  const colour = told.level === 'warning' ? paint.warning : paint.bad;
  return `${head}\n${printable(line)}\n${colour(caret)}`;
}

function splitPlace({ file, line, column, message }: Told): readonly [string, string] {
  const whole = formatProblem({ file, line, column, message });
  const place = whole.slice(0, whole.length - message.length - 2);
  return [place, message];
}

/** For GitHub: a workflow command that puts the finding beside the line in a pull request. */
export function annotationOf({ level, code, file, line, column, message, hint }: Told): string {
  const path = relative(process.cwd(), file);
  // Paths are those of the checkout where the file is in it.
  const properties = {
    file: path.startsWith('..') ? file : path,
    ...(line === undefined ? {} : { line }),
    ...(column === undefined ? {} : { col: column }),
    title: `postern ${code}`,
  };
  const written = Object.entries(properties).map(([name, value]) => `${name}=${escapeProperty(String(value))}`);
  return `::${level} ${written.join(',')}::${escapeData(hint === undefined ? message : `${message}; ${hint}`)}`;
}

/** As GitHub's own toolkit does: what ends a command, and the sign that begins an escape. */
function escapeData(text: string): string {
  return printable(text).replaceAll('%', '%25').replaceAll('\r', '%0D').replaceAll('\n', '%0A');
}

function escapeProperty(text: string): string {
  return escapeData(text).replaceAll(':', '%3A').replaceAll(',', '%2C');
}
