/** What every store of behaviour must do, whatever it is made of. Each adapter's own test runs this. */

import { describe, expect, test } from 'vitest';
import type { DriftStore } from '../../src/store/drift-port.ts';

const day = 86_400_000;
/** Every value of an octet, so that none is lost or changed on the way. */
const octets = Uint8Array.from({ length: 256 }, (_, index) => index);

/** `open` gives two clients of one fresh, empty store. */
export function driftStoreContract(open: () => Promise<readonly [DriftStore, DriftStore]>): void {
  describe('state of behaviour', () => {
    test('is read by every client as it was written', async () => {
      const [store, other] = await open();
      expect(await other.read('a')).toBeNull();
      const version = await store.write('a', null, octets, day);
      const read = await other.read('a');
      expect(read?.version).toBe(version);
      expect([...(read?.bytes ?? [])]).toEqual([...octets]);
    });

    test('is not shared with who wrote it', async () => {
      const [store] = await open();
      const bytes = octets.slice();
      await store.write('a', null, bytes, day);
      bytes.fill(0);
      expect((await store.read('a'))?.bytes[7]).toBe(7);
    });

    test('is written by one of two that go on from the same version', async () => {
      const [store, other] = await open();
      const first = await store.write('a', null, Uint8Array.of(1), day);
      expect(await other.write('a', null, Uint8Array.of(9), day)).toBeNull();
      const written = await Promise.all([
        store.write('a', first, Uint8Array.of(2), day),
        other.write('a', first, Uint8Array.of(3), day),
      ]);
      expect(written.filter((version) => version !== null)).toHaveLength(1);
      const winner = written[0] === null ? 3 : 2;
      expect([...((await store.read('a'))?.bytes ?? [])]).toEqual([winner]);
    });

    test('is written by nobody who expects what is no longer there', async () => {
      const [store] = await open();
      expect(await store.write('a', 'gone', octets, day)).toBeNull();
      expect(await store.read('a')).toBeNull();
    });

    test('has versions that never come again', async () => {
      const [store] = await open();
      const first = await store.write('a', null, octets, day);
      const second = await store.write('a', first, octets, day);
      expect(second).not.toBe(first);
      expect(await store.write('a', first, octets, day)).toBeNull();
    });

    test('is forgotten when it was not written for its lifetime', async () => {
      const [store, other] = await open();
      await store.write('short', null, octets, 20);
      await store.write('long', null, octets, null);
      await expect.poll(() => other.read('short')).toBeNull();
      expect(await other.has(['short', 'long', 'never'])).toEqual([false, true, false]);
      expect(await other.has([])).toEqual([]);
    });
  });
}
