/** The fields that carry a credential, made once a version and handed out on allow only. */

import type { Config } from '../config/schema.ts';
import { type Deny, deny } from '../decision.ts';
import type { ConfigurationProblem } from '../errors.ts';
import type { Injection, Route } from '../exchange.ts';
import type { LeakGuard } from '../leak-search.ts';
import { guardedBytesMin, leakForms } from './leak-forms.ts';
import { createLeakGuard } from './leak-guard.ts';
import type { Secret } from './secret-text.ts';

/** Where secrets come from; see secrets.ts. */
export type SecretSource = {
  readonly current: (name: string) => Secret | null;
  readonly problem: (name: string) => string | null;
};

/** Gives what the route's credential puts on the upstream request, or a Deny while the secret can't be had. */
export function createInject(options: {
  readonly credentials: Config['credentials'];
  readonly secrets: SecretSource;
}): (route: Route) => Injection | Deny {
  const { secrets } = options;
  const credentials = new Map(Object.entries(options.credentials));
  const made = new Map<string, SealedInjection>();
  return ({ credential: name, leakGuard = false }) => {
    const secret = secrets.current(name);
    const credential = credentials.get(name);
    if (secret === null || credential === undefined) {
      // Fail closed: an earlier version may have been withdrawn on purpose.
      return deny('credential_unavailable', {
        cause: `credential ${name} ${secrets.problem(name) ?? 'is not declared'}`,
      });
    }
    let injection = made.get(name);
    if (injection === undefined || injection.version !== secret.version) {
      injection = new SealedInjection(name, secret, credential.inject, injection);
      made.set(name, injection);
    }
    if (leakGuard && injection.guard === null) {
      return deny('credential_unavailable', { cause: `credential ${name} ${tooShortToGuard}` });
    }
    return injection;
  };
}

/** Secrets too short for the leak guard that a route has. Such a secret that comes later makes its route unavailable. */
export function guardProblems(
  { routes, credentials }: Pick<Config, 'routes' | 'credentials'>,
  secrets: Pick<SecretSource, 'current'>,
): readonly ConfigurationProblem[] {
  return Object.keys(credentials).flatMap((name) => {
    const secret = secrets.current(name);
    const isGuarded = routes.some(({ credential, leakGuard }) => credential === name && leakGuard === 'on');
    if (!isGuarded || secret === null || isLongEnoughToGuard(secret)) return [];
    return [{ path: ['credentials', name, 'from'], message: `names a secret that ${tooShortToGuard}` }];
  });
}

/** Lower-case names of all fields that credentials are put into: nobody else may set or nominate them. */
export function injectedFieldNames(credentials: Config['credentials']): readonly string[] {
  return [
    ...new Set(Object.values(credentials).map(({ inject }) => ('header' in inject ? inject.header : 'authorization'))),
  ];
}

/** What is wrong with a secret on a route that has a leak guard. */
const tooShortToGuard =
  `is shorter than ${guardedBytesMin} bytes, too short to be told from other text in answers; ` +
  'use a longer one, or leakGuard: off on its routes';

function isLongEnoughToGuard(secret: Secret): boolean {
  return Buffer.byteLength(secret.reveal()) >= guardedBytesMin;
}

type Inject = Config['credentials'][string]['inject'];

function fieldsOf(inject: Inject, secret: string): Injection['fields'] {
  if ('header' in inject) return [[inject.header, inject.value.split('{secret}').join(secret)]];
  return [['authorization', `Basic ${userPass(inject.basic.username, secret)}`]];
}

/** RFC 7617 §2: user-id and password, joined by a colon, in Base64. */
function userPass(username: string, secret: string): string {
  return Buffer.from(`${username}:${secret}`, 'utf8').toString('base64');
}

/** What must not come back: the secret, and where it is sent in a coding, that as well, which may be coded once more. */
function formsOf(inject: Inject, secret: Secret): readonly Buffer[] {
  if (!isLongEnoughToGuard(secret)) return [];
  const text = secret.reveal();
  return leakForms('header' in inject ? [text] : [text, userPass(inject.basic.username, text)]);
}

/** Its values live in private members, where neither JSON nor inspect nor a spread finds them. */
class SealedInjection implements Injection {
  readonly name: string;
  readonly version: number;
  readonly #fields: Injection['fields'];
  readonly #forms: readonly Buffer[];
  readonly #guard: LeakGuard | null;

  /** `last` is what the credential was before: an upstream may still speak of it. */
  constructor(name: string, secret: Secret, inject: Inject, last: SealedInjection | undefined) {
    this.name = name;
    this.version = secret.version;
    this.#fields = fieldsOf(inject, secret.reveal());
    this.#forms = formsOf(inject, secret);
    const forms = [...this.#forms, ...(last === undefined ? [] : last.#forms)];
    this.#guard = this.#forms.length === 0 ? null : createLeakGuard(forms);
  }

  get fields(): Injection['fields'] {
    return this.#fields;
  }

  get guard(): LeakGuard | null {
    return this.#guard;
  }

  toString(): string {
    return '[secret]';
  }
}
