/** Fields in which proxies tell who the client is. From anybody else they are an attempt to be somebody else. */

export const proxyFieldNames: ReadonlySet<string> = new Set([
  // The address.
  'forwarded',
  'x-real-ip',
  'x-client-ip',
  'x-cluster-client-ip',
  'x-originating-ip',
  'x-remote-ip',
  'x-remote-addr',
  'true-client-ip',
  'cf-connecting-ip',
  'fastly-client-ip',
  'client-ip',
  // A verified certificate (RFC 9440, Envoy, nginx, Apache, IIS).
  'client-cert',
  'client-cert-chain',
  'x-client-cert',
  'x-client-certificate',
  'x-client-dn',
  'x-client-verify',
  'x-arr-clientcert',
]);

/** Grouped by first letter, so that most names cost one comparison. */
export const proxyFieldPrefixes = {
  x: ['x-forwarded-', 'x-ssl-', 'x-tls-client-', 'x-client-cert-', 'x-amzn-mtls-'],
  s: ['ssl-client-'],
} as const;

const prefixes: Readonly<Record<string, readonly string[]>> = proxyFieldPrefixes;

/** In any spelling: servers that hand fields on as variables take `_` and `.` for `-`. Names are in lower case. */
export function hasProxyField(fieldNames: Iterable<string>): boolean {
  for (const name of fieldNames) {
    const plain = plainSpelling(name);
    if (proxyFieldNames.has(plain) || prefixes[plain.charAt(0)]?.some((prefix) => plain.startsWith(prefix)) === true)
      return true;
  }
  return false;
}

/** Underscores and dots as dashes. */
export function plainSpelling(name: string): string {
  return name.replaceAll('_', '-').replaceAll('.', '-');
}
