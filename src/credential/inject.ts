/** The fields that carry a credential, made once a version and handed out on allow only. */

import type { Config } from '../config/schema.ts';
import { type Deny, deny } from '../decision.ts';
import type { Injection, Route } from '../exchange.ts';
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
  return ({ credential: name }) => {
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
      injection = new SealedInjection(name, secret.version, fieldsOf(credential.inject, secret.reveal()));
      made.set(name, injection);
    }
    return injection;
  };
}

/** Lower-case names of all fields that credentials are put into: nobody else may set or nominate them. */
export function injectedFieldNames(credentials: Config['credentials']): readonly string[] {
  return [
    ...new Set(Object.values(credentials).map(({ inject }) => ('header' in inject ? inject.header : 'authorization'))),
  ];
}

function fieldsOf(inject: Config['credentials'][string]['inject'], secret: string): Injection['fields'] {
  if ('header' in inject) return [[inject.header, inject.value.split('{secret}').join(secret)]];
  // RFC 7617 §2: user-id and password, joined by a colon, in Base64.
  const userPass = Buffer.from(`${inject.basic.username}:${secret}`, 'utf8').toString('base64');
  return [['authorization', `Basic ${userPass}`]];
}

/** Its values live in a private member, where neither JSON nor inspect nor a spread finds them. */
class SealedInjection implements Injection {
  readonly name: string;
  readonly version: number;
  readonly #fields: Injection['fields'];

  constructor(name: string, version: number, fields: Injection['fields']) {
    this.name = name;
    this.version = version;
    this.#fields = fields;
  }

  get fields(): Injection['fields'] {
    return this.#fields;
  }

  toString(): string {
    return '[secret]';
  }
}
