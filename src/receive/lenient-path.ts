/** How the most lenient server would read a path, so that nothing hides behind what a route has opted in to. */

const unreserved = /^[A-Za-z0-9\-._~]$/;

/**
 * Takes a canonical path: percent signs decoded once more, encoded slashes and semicolons decoded, path parameters and
 * empty segments dropped. Null where that brings out a dot segment, a backslash, a control, or one more encoding. What
 * a more careful server reads has the same segments or longer ones, so that it finds no dot segment either.
 */
export function lenientPathOf(path: string): string | null {
  let isSafe = true;
  // A percent sign that no two digits follow stands for itself, whoever decodes it.
  const once = path.replace(/%25([0-9A-Fa-f]{2})/g, (_encoded, hex: string) => {
    const octet = Number.parseInt(hex, 16);
    if (octet < 0x20 || octet === 0x7f || octet === 0x5c || octet === 0x25) isSafe = false;
    const character = String.fromCharCode(octet);
    return unreserved.test(character) ? character : `%${hex.toUpperCase()}`;
  });
  if (!isSafe || /%25[0-9A-Fa-f]{2}/.test(once)) return null;
  const segments = once
    .replaceAll('%2F', '/')
    .replaceAll('%3B', ';')
    .split('/')
    .map(withoutParameters)
    .filter((segment) => segment !== '');
  return segments.includes('.') || segments.includes('..') ? null : `/${segments.join('/')}`;
}

/** RFC 3986 §3.3: what follows a semicolon may be a parameter of the segment. */
function withoutParameters(segment: string): string {
  const semicolon = segment.indexOf(';');
  return semicolon < 0 ? segment : segment.slice(0, semicolon);
}
