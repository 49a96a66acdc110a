/** What is wrong with how a credential is to be put on requests, said before any request is made. */

import type { Config } from '../config/schema.ts';
import type { ConfigurationProblem } from '../errors.ts';

/** Fields that undici writes itself or that frame the message: a credential there would be lost or break it. */
const unusable: ReadonlySet<string> = new Set([
  'connection',
  'content-length',
  'content-type',
  'expect',
  'host',
  'http2-settings',
  'keep-alive',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
]);

/** Looks at names and templates only, never at a secret. */
export function injectProblems(credentials: Config['credentials']): readonly ConfigurationProblem[] {
  return Object.entries(credentials).flatMap(([name, { inject }]) => {
    if (!('header' in inject)) return [];
    const problem = (key: string, message: string) => ({ path: ['credentials', name, 'inject', key], message });
    return [
      ...(unusable.has(inject.header) ? [problem('header', 'is a field that cannot carry a credential')] : []),
      // RFC 9110 §5.5: anything else would end the field or not arrive as it was meant.
      ...(/^[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?$/.test(inject.value)
        ? []
        : [problem('value', 'must be printable ASCII without blanks around it')]),
    ];
  });
}
