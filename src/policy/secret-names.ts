/**
 * Names of what is best not shown or kept, wherever an agent puts it. Credentials proper, such as Authorization, never
 * reach a rule; these are what APIs invent beside them.
 */

const secretName =
  /token|secret|passw|pwd|api[-_]?key|(?:private|access|signing)[-_]?key|credential|signature|session|cookie|authorization(?!_details)|bearer|assertion/i;

export function isSecretName(name: string): boolean {
  return secretName.test(name);
}

/** Whether anything in the query of a path sounds secret, however it is spelt. */
export function hasSecretQuery(path: string): boolean {
  const at = path.indexOf('?');
  if (at < 0) return false;
  const query = path.slice(at + 1);
  return isSecretName(query) || isSecretName(decoded(query));
}

/** What is no encoding stays as it is. */
function decoded(text: string): string {
  return text.replace(/%([0-9a-f]{2})/gi, (_octet, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
}
