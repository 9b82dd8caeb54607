/**
 * A sample of what `npm run lint-stock` does whole: programs and authorities as a distribution ships them, TLS libraries
 * and network tools among them, whose bytes are full of words that look like keys. None of it is a secret.
 */
import { existsSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { lint, told } from './image-maker.ts';

/** Of packages only: nobody's own files are there. */
const PLACES = ['/usr/sbin', '/usr/share/ca-certificates', '/usr/share/perl5', '/usr/lib/ssl', '/usr/lib/git-core'];

describe.each(PLACES.filter(existsSync))('%s of this machine', (place) => {
  it('has no error', async () => {
    const errors = (await lint(place)).filter(({ severity }) => severity === 'error');
    expect(told(errors)).toEqual([]);
  });
});
