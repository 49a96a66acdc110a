/** Address ranges. An IPv4-mapped IPv6 address (RFC 4291 §2.5.5.2) is the IPv4 address that it holds. */

import { BlockList, isIPv4, isIPv6, SocketAddress } from 'node:net';

const mappedPrefix = '::ffff:';

type Address = { readonly text: string; readonly family: 'ipv4' | 'ipv6' };

/** An address without its zone, mapped addresses as IPv4; null where the text is no address. */
function parseAddress(text: string): Address | null {
  if (isIPv4(text)) return { text, family: 'ipv4' };
  const bare = text.includes('%') ? text.slice(0, text.indexOf('%')) : text;
  if (!isIPv6(bare)) return null;
  const canonical = new SocketAddress({ address: bare, family: 'ipv6' }).address;
  const tail = canonical.startsWith(mappedPrefix) ? canonical.slice(mappedPrefix.length) : '';
  return isIPv4(tail) ? { text: tail, family: 'ipv4' } : { text: canonical, family: 'ipv6' };
}

/** A parsed range. A class because the engine finds a value's type by its constructor. */
export class CidrRange {
  readonly #list: BlockList;
  readonly #family: Address['family'];

  constructor(network: Address, bits: number) {
    this.#list = new BlockList();
    this.#list.addSubnet(network.text, bits, network.family);
    this.#family = network.family;
  }

  /** Null where the text is no address. */
  includes(text: string): boolean | null {
    const address = parseAddress(text);
    if (address === null) return null;
    return address.family === this.#family && this.#list.check(address.text, address.family);
  }
}

/** `10.0.0.0/8`, `2001:db8::/32`, or one address; null where the text is none of these. */
export function parseCidr(text: string): CidrRange | null {
  const [written = '', length, ...rest] = text.split('/');
  const network = parseAddress(written);
  if (network === null || rest.length > 0 || written.includes('%')) return null;
  const isMapped = network.family === 'ipv4' && written.includes(':');
  const writtenMax = written.includes(':') ? 128 : 32;
  if (length !== undefined && !/^(0|[1-9]\d{0,2})$/.test(length)) return null;
  const writtenBits = length === undefined ? writtenMax : Number(length);
  const bits = isMapped ? writtenBits - 96 : writtenBits;
  if (writtenBits > writtenMax || bits < 0) return null;
  return new CidrRange(network, bits);
}
