import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { EntropyMissing } from '../../../../agent/core/first-boot-ports.ts';
import { isSeeded, kernelSecrets } from '../../../../agent/first-boot/secret-source.ts';

describe('random bytes for secrets', () => {
  it('come from a kernel that is seeded, and differ', () => {
    expect(isSeeded()).toBe(true);
    const random = kernelSecrets();
    expect(random.bytes(16)).toHaveLength(16);
    expect(random.bytes(16)).not.toEqual(random.bytes(16));
  });

  it('are refused until it is, asked again each time, and not any more after it was once', () => {
    const answers = [false, false, true, false];
    let asked = 0;
    const random = kernelSecrets(() => answers[asked++] ?? false);
    expect(() => random.bytes(16)).toThrow(EntropyMissing);
    expect(() => random.bytes(16)).toThrow(EntropyMissing);
    expect(random.bytes(16)).toHaveLength(16);
    expect(random.bytes(16)).toHaveLength(16);
    expect(asked).toBe(3);
  });

  it('count a device that has nothing to give as not seeded', () => {
    const folder = mkdtempSync(join(tmpdir(), 'random-'));
    try {
      // A pipe that nobody has written to, opened at both ends: a read that may not wait gets EAGAIN, as the kernel's does.
      const pipe = join(folder, 'random');
      execFileSync('mkfifo', [pipe]);
      expect(isSeeded(pipe)).toBe(false);
      expect(isSeeded(join(folder, 'none'))).toBe(false);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it('are never more than a secret has', () => {
    expect(() => kernelSecrets().bytes(1 << 20)).toThrow(RangeError);
  });
});
