/** RFC 9449 §4.3 (9): whether a proof's `htu` names this request, ignoring query and fragment. */

/** Whether an `htu` is the URI of a request with this canonical path (see Target). */
export type MatchHtu = (htu: string, path: string) => boolean;

/**
 * The request's side of the comparison is our own public origin and the vetted path; Host and X-Forwarded-* play no
 * part. Only the client's text is normalised (RFC 3986 §6.2.2, §6.2.3): case of scheme, host and percent-encodings,
 * default port, empty path, unreserved octets. Dot segments are left standing, so they match nothing: the vetted path
 * has none, and to resolve them here would let a proof for one path pass for another that the upstream resolves.
 */
export function createMatchHtu(publicOrigin: string): MatchHtu {
  const { origin } = new URL(publicOrigin);
  return (htu, path) => isExactly(htu, origin, path) || isEquivalent(htu, origin, path);
}

/** What almost every client sends, decided without building a string. */
function isExactly(htu: string, origin: string, path: string): boolean {
  return htu.length === origin.length + path.length && htu.startsWith(origin) && htu.endsWith(path);
}

function isEquivalent(htu: string, origin: string, path: string): boolean {
  const authorityStart = schemeLength(htu);
  if (authorityStart === 0) return false;
  const authorityEnd = indexOfAny(htu, '/?#', authorityStart);
  if (originOf(htu.slice(0, authorityStart), htu.slice(authorityStart, authorityEnd)) !== origin) return false;
  const htuPath = htu.slice(authorityEnd, indexOfAny(htu, '?#', authorityEnd));
  return (htuPath === '' ? '/' : normalisePath(htuPath)) === path;
}

/** Length of `http://` or `https://`; 0 for any other beginning. */
function schemeLength(htu: string): number {
  const start = htu.slice(0, 8).toLowerCase();
  if (start === 'https://') return 8;
  return start.startsWith('http://') ? 7 : 0;
}

function indexOfAny(text: string, characters: string, from: number): number {
  let at = from;
  while (at < text.length && !characters.includes(text.charAt(at))) at += 1;
  return at;
}

/** Null for what is no plain authority: the URL parser would drop tabs, and take userinfo and backslashes. */
function originOf(scheme: string, authority: string): string | null {
  if (/[\s\\@%]/.test(authority) || !URL.canParse(scheme + authority)) return null;
  return new URL(scheme + authority).origin;
}

/** RFC 3986 §6.2.2.1 and §6.2.2.2: upper-case hex digits; unreserved octets decoded, and no others. */
function normalisePath(path: string): string {
  if (!path.includes('%')) return path;
  return path.replace(/%([0-9A-Fa-f]{2})/g, (encoded, hex: string) => {
    const character = String.fromCharCode(Number.parseInt(hex, 16));
    return /[A-Za-z0-9\-._~]/.test(character) ? character : encoded.toUpperCase();
  });
}
