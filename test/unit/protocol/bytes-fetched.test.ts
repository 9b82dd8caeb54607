import { describe, expect, it } from 'vitest';
import { bytesFetched } from '../../../protocol/bytes-fetched.ts';

describe('what a device says it fetched', () => {
  it('is read out of its history, whatever stands around it', () => {
    const history = ['confirmed', 'image-transport: fetched 1501 of 5247880 bytes (recipe 1501)', 'downloading'];
    expect(bytesFetched(history)).toEqual({ fetched: 1501, images: 5_247_880 });
  });

  it('is nothing where no device says it', () => {
    expect(bytesFetched([])).toBeUndefined();
    expect(bytesFetched(['prefetched 3 of 4 bytes', 'fetched all bytes'])).toBeUndefined();
  });
});
