/** The fleet, or a group, as bytes for the store. */

import type { Fleet } from './fleet.ts';
import { openReader, openWriter } from './packed.ts';

const magic = 0x50_44_46;
const formatVersion = 1;
const fleetBytesMax = 128 * 1024;

export function encodeFleet(fleet: Fleet): Uint8Array {
  const writer = openWriter();
  for (const value of [magic, formatVersion, fleet.weight, fleet.peers]) writer.number(value);
  writer.cells(fleet.counts);
  writer.cells(fleet.users);
  return writer.end();
}

/** Reads into an empty fleet of the size that was written. Null for bytes that are none of this version. */
export function decodeFleet(bytes: Uint8Array, fleet: Fleet): Fleet | null {
  if (bytes.length > fleetBytesMax) return null;
  const reader = openReader(bytes);
  if (reader.number(magic) !== magic || reader.number(formatVersion) !== formatVersion) return null;
  fleet.weight = reader.number(2 ** 48);
  fleet.peers = reader.number(2 ** 32);
  reader.cells(fleet.counts);
  reader.cells(fleet.users);
  return reader.isSound() && reader.isAtEnd() ? fleet : null;
}
