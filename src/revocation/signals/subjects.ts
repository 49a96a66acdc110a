/** From the subject of a security event (RFC 9493, SSF §3) to what Postern revokes by. */

import { isJsonObject } from '../../strict-json.ts';
import { type Named, readSubId } from '../sub-id.ts';

/** One thing to revoke. A subject without an issuer is the one of that name at every issuer. */
export type Target = Named;

export const subjectFormats = ['iss_sub', 'opaque', 'email', 'account', 'phone_number', 'did', 'uri'] as const;
export type SubjectFormat = (typeof subjectFormats)[number];

export type SubjectMapping = {
  /** Formats that name users, and those that name agents. One may be in both. */
  readonly users: readonly SubjectFormat[];
  readonly agents: readonly SubjectFormat[];
  /** Token issuers whose subjects the transmitter may revoke; null for all. */
  readonly speaksFor: readonly string[] | null;
  /** Every issuer of tokens that is configured. */
  readonly tokenIssuers: ReadonlySet<string>;
};

/** What a subject comes to: `foreign` where it is another issuer's, `unknown` where nothing can be made of it. */
export type Mapped = readonly Target[] | 'foreign' | 'unknown';

type Subject = Readonly<Record<string, unknown>>;

export function createMapSubject({ users, agents, speaksFor, tokenIssuers }: SubjectMapping) {
  const userFormats: ReadonlySet<string> = new Set(users);
  const agentFormats: ReadonlySet<string> = new Set(agents);

  /** A configured issuer that the transmitter does not speak for. */
  function isForeign(issuer: unknown): boolean {
    return typeof issuer === 'string' && tokenIssuers.has(issuer) && speaksFor?.includes(issuer) === false;
  }

  /** A user at the issuers that the transmitter speaks for. */
  function usersNamed(value: string): readonly Target[] {
    return (speaksFor ?? [null]).map((issuer) => ({ kind: 'subject', value, issuer }));
  }

  function mapNamed(format: string, { kind, value, issuer }: Named): Mapped {
    if (isForeign(issuer)) return 'foreign';
    if (kind !== 'subject') return [{ kind, value, issuer }];
    // An issuer under another name than it has in tokens: to look for that name would find nobody, and revoke nothing.
    const isKnown = issuer !== null && tokenIssuers.has(issuer);
    const found: Target[] = [];
    if (userFormats.has(format)) found.push(...(isKnown ? [{ kind, value, issuer }] : usersNamed(value)));
    if (agentFormats.has(format)) found.push({ kind: 'agent', value, issuer: null });
    return found.length === 0 ? 'unknown' : found;
  }

  function mapSimple(subject: unknown): Mapped {
    if (!isJsonObject(subject)) return 'unknown';
    const format = formatOf(subject);
    if (format === 'aliases') return mapAliases(subject);
    const named = readSubId({ ...subject, format });
    const [first] = typeof named === 'string' ? [] : named;
    return first === undefined ? 'unknown' : mapNamed(format, first);
  }

  /** RFC 9493 §3.2.8: one subject under several names, of which each may be the one in tokens. */
  function mapAliases({ identifiers }: Subject): Mapped {
    if (!Array.isArray(identifiers) || identifiers.length > aliasesMax) return 'unknown';
    const mapped = identifiers.map((one) =>
      isJsonObject(one) && formatOf(one) !== 'aliases' ? mapSimple(one) : 'unknown',
    );
    const found = mapped.flatMap((one) => (typeof one === 'string' ? [] : one));
    if (found.length > 0) return found;
    return mapped.includes('foreign') ? 'foreign' : 'unknown';
  }

  /**
   * SSF §3.2: members narrow each other down, such as to one session of one user. Tokens do not always say what session
   * they are of, so the widest that is named is taken: the user, else the application as an agent, else the session.
   */
  function mapComplex({ user, application, client, session }: Subject): Mapped {
    if (user !== undefined) {
      const found = mapSimple(user);
      // One session of a user of whom nothing can be made is less than was meant, and better than nothing.
      return found === 'unknown' ? mapPart(session, 'delegation', 'sid') : found;
    }
    const agent = application ?? client;
    if (agent !== undefined) return mapPart(agent, 'agent', 'client_id');
    return mapPart(session, 'delegation', 'sid');
  }

  /** An application or a session: its id, in whichever form it is written. */
  function mapPart(part: unknown, kind: 'agent' | 'delegation', member: string): Mapped {
    if (!isJsonObject(part)) return 'unknown';
    if (isForeign(part.iss)) return 'foreign';
    const value = part.id ?? part.sub ?? part[member] ?? part.uri;
    if (typeof value !== 'string' || value === '' || value.length > partCharsMax) return 'unknown';
    return [{ kind, value, issuer: null }];
  }

  return (subject: unknown): Mapped => {
    if (!isJsonObject(subject)) return 'unknown';
    const format = formatOf(subject);
    // Early transmitters leave the format of a complex subject out.
    return format === 'complex' || format === '' ? mapComplex(subject) : mapSimple(subject);
  };
}

const aliasesMax = 16;
const partCharsMax = 4096;

/** The older RISC drafts said subject_type, with dashes. */
function formatOf({ format, subject_type: legacy }: Subject): string {
  if (typeof format === 'string') return format;
  return typeof legacy === 'string' ? legacy.replaceAll('-', '_') : '';
}
