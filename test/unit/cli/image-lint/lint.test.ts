import { describe, expect, it } from 'vitest';
import { FINDINGS } from '../../../../cli/image-lint/findings.ts';
import { CLEAN, lintPlanted, told } from './image-maker.ts';
import { PLANTS } from './plants.ts';

describe.each(['squashfs', 'ext4'] as const)('a root file system in %s', (format) => {
  it('that is clean has no finding', async () => {
    expect(told(await lintPlanted({}, format))).toEqual([]);
  });

  it.each(PLANTS.map((plant) => [plant.name, plant] as const))(
    'with %s: it is found, and nothing else',
    async (_, plant) => {
      expect(told(await lintPlanted(plant.planted, format))).toEqual([...plant.found].sort());
    },
  );
});

describe('what is found', () => {
  it('by owner: a file of a user that root obeys', async () => {
    const found = await lintPlanted({ 'etc/init.d/app': { text: '#!/bin/sh\n', mode: 0o755, uid: 1000 } });
    expect(told(found)).toEqual(['owned-by-user /etc/init.d/app']);
  });

  it('without an agent.json is a note, and with --product an error', async () => {
    const without = { ...CLEAN, 'etc/holdfast/agent.json': null };
    expect(told(await lintPlanted(without))).toEqual(['agent-absent ']);
    expect(told(await lintPlanted(without, 'squashfs', true))).toEqual(['agent-missing /etc/holdfast/agent.json']);
  });

  it('never holds the secret that it is about', async () => {
    const secret = 'correct horse battery';
    const found = await lintPlanted({
      'etc/hostapd/hostapd.conf': `wpa_passphrase=${secret}\n`,
      'root/.netrc': `machine a login b password ${secret.replaceAll(' ', '-')}\n`,
    });
    expect(found).toHaveLength(2);
    expect(JSON.stringify(found)).not.toMatch(/correct/);
  });

  it('is planted at least once of each kind that a root file system can have', () => {
    const planted = new Set(PLANTS.flatMap(({ found }) => found.map((line) => line.split(' ')[0])));
    const elsewhere = [
      // In this file.
      'owned-by-user',
      'agent-absent',
      // Of images as a whole: volumes.test.ts, hostile.test.ts, allowance.test.ts.
      'file-unread',
      'filesystem-unread',
      'partition-unknown',
      'root-absent',
      'image-hostile',
      'scan-incomplete',
      'file-cut',
      'allowance-unused',
    ];
    expect([...planted, ...elsewhere].sort()).toEqual(Object.keys(FINDINGS).sort());
  });
});
