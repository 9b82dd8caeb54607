import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { BOUND } from '../../../../../cli/image-lint/rules/holdfast.ts';
import { CLEAN, lintPlanted, type Planted, told } from '../image-maker.ts';

const LISTS = join(import.meta.dirname, '../../../../../agent/systemd/first-boot');
const ENABLED_BY_LINKS = /holdfast-(firstboot|agent)\.service$/;

describe('the gates', () => {
  it.skipIf(!existsSync(LISTS))('bind what `holdfast-gates enable` binds', () => {
    for (const gate of ['open', 'quiet'] as const) {
      const text = readFileSync(join(LISTS, `${gate}.units`), 'utf8');
      const lines = text.split('\n').map((line) => line.replace(/#.*/, '').trim());
      expect(BOUND[gate], gate).toEqual(lines.filter((line) => line !== ''));
    }
  });

  it('are on when a drop-in of sysinit.target wants them, without any link', async () => {
    const links = Object.keys(CLEAN).filter((path) => path.includes('.wants/') && ENABLED_BY_LINKS.test(path));
    expect(links).toHaveLength(2);
    const without: Planted = Object.fromEntries(
      links.filter((path) => path.includes('firstboot')).map((path) => [path, null]),
    );
    const wants = 'Wants=holdfast-quiet.service holdfast-firstboot.service holdfast-open.service';
    const dropIn = { 'etc/systemd/system/sysinit.target.d/10-holdfast-gate.conf': `[Unit]\n${wants}\n` };
    expect(told(await lintPlanted({ ...without, ...dropIn }))).toEqual([]);
  });

  it('hold an emergency shell whose environment is taken away, whoever sets it', async () => {
    const forced = {
      'etc/systemd/system/emergency.service.d/50-maker.conf': '[Service]\nEnvironment=SYSTEMD_SULOGIN_FORCE=1\n',
    };
    const unset = {
      'etc/systemd/system/emergency.service.d/60-gate.conf': '[Service]\nUnsetEnvironment=SYSTEMD_SULOGIN_FORCE\n',
    };
    expect(told(await lintPlanted(forced))).toHaveLength(1);
    expect(told(await lintPlanted({ ...forced, ...unset }))).toEqual([]);
  });
});
