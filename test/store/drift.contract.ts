/** What every store of behaviour must do, whatever it is made of. Each adapter's own test runs this. */

import { describe, expect, onTestFinished, test } from 'vitest';
import { type Channel, type DriftStore, toldCharsMax } from '../../src/store/drift-port.ts';

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

  describe('a channel', () => {
    /** A member of `name`, and what it has heard. */
    function join(store: DriftStore, name: string) {
      const heard: string[] = [];
      const onTold = (text: string) => void (text !== '?' && heard.push(text));
      const channel = store.join(name, { onTold, onFault: () => {} });
      onTestFinished(() => channel.close());
      return { ...channel, heard };
    }

    /** Asks until so many others hear it: members join in the background. */
    const heardBy = (channel: Channel, others: number) =>
      expect.poll(() => channel.tell('?'), { timeout: 10_000 }).toBe(others);

    test('carries what one tells to all others, as it was told, and not back', async () => {
      const [store, other] = await open();
      const [one, two, three] = [join(store, 'c'), join(other, 'c'), join(other, 'c')];
      await Promise.all([heardBy(one, 2), heardBy(two, 2), heardBy(three, 2)]);
      const text = '["ä\u0000\\n", 1]';
      expect(await one.tell(text)).toBe(2);
      await expect.poll(() => [two.heard, three.heard]).toEqual([[text], [text]]);
      // What was told first has come first, so that nothing of one's own is on its way any more.
      await two.tell('last');
      await expect.poll(() => one.heard).toEqual(['last']);
    });

    test('is another by another name, and knows where nobody else is', async () => {
      const [store, other] = await open();
      const [one, two, apart] = [join(store, 'c'), join(other, 'c'), join(other, 'd')];
      await heardBy(one, 1);
      await heardBy(apart, 0);
      await one.tell('x');
      await expect.poll(() => two.heard).toEqual(['x']);
      expect(apart.heard).toEqual([]);
    });

    test('has a member until that leaves', async () => {
      const [store, other] = await open();
      const [one, two] = [join(store, 'c'), join(other, 'c')];
      await heardBy(one, 1);
      two.close();
      await heardBy(one, 0);
      expect(await one.tell('x')).toBe(0);
      expect(two.heard).toEqual([]);
    });

    test('does not carry what is longer than it may be', async () => {
      const [store, other] = await open();
      const [one, two] = [join(store, 'c'), join(other, 'c')];
      await heardBy(one, 1);
      expect(await one.tell('y'.repeat(toldCharsMax + 1))).toBe(0);
      expect(await one.tell('y'.repeat(toldCharsMax))).toBe(1);
      await expect.poll(() => two.heard.map(({ length }) => length)).toEqual([toldCharsMax]);
    });
  });
}
