import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { needProgram, runProgram } from '../../../../scripts/programs.ts';

const SYSTEMD = join(import.meta.dirname, '../../../../agent/systemd');
const PROGRAMS = join(SYSTEMD, 'first-boot');
const DROP_IN = '10-holdfast-gate.conf';
let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'gates-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const gates = (...words: string[]) => runProgram('sh', [join(PROGRAMS, 'holdfast-gates'), ...words]);
const units = async () => (await readdir(SYSTEMD)).filter((name) => /^holdfast-(quiet|firstboot|open)/.test(name));
const text = (name: string) => readFile(join(SYSTEMD, name), 'utf8');
const listed = async (name: string) =>
  (await text(`first-boot/${name}`)).split('\n').filter((line) => line !== '' && !line.startsWith('#'));
const dropIn = (unit: string) => readFile(join(folder, 'etc/systemd/system', `${unit}.d`, DROP_IN), 'utf8');

describe('the units of the gates', () => {
  it('have no condition, because a unit that is skipped counts as one that succeeded', async () => {
    expect(await units()).toHaveLength(7);
    for (const name of await units()) expect(await text(name)).not.toMatch(/^\s*(Condition|Assert)\w+=/m);
  });

  it('cannot be enabled by a preset, nor held by a restart that others wait for', async () => {
    for (const name of await units()) {
      expect(await text(name)).not.toMatch(/^\[Install\]/m);
      if (name !== 'holdfast-quiet-guard.service') expect(await text(name)).not.toMatch(/^Restart=/m);
    }
  });

  it('leave the first boot in the mounts of the system, which must see what it binds', async () => {
    const ways =
      /^(ProtectSystem|ProtectHome|PrivateTmp|PrivateMounts|PrivateDevices|ProtectKernel\w+|ReadWritePaths)=/m;
    expect(await text('holdfast-firstboot.service')).not.toMatch(ways);
    expect(await text('holdfast-quiet.service')).toMatch(ways);
  });
});

describe('holdfast-gates', () => {
  it('binds every listed unit to its gate, with the order that makes the binding strict', async () => {
    const done = await gates('enable', '--root', folder, 'my-panel.service');
    expect(done).toMatchObject({ status: 0, stderr: '' });
    for (const unit of await listed('quiet.units')) {
      expect(await dropIn(unit)).toContain('BindsTo=holdfast-quiet.service\nAfter=holdfast-quiet.service');
    }
    for (const unit of [...(await listed('open.units')), 'my-panel.service']) {
      expect(await dropIn(unit)).toContain('BindsTo=holdfast-open.service\nAfter=holdfast-open.service');
    }
    expect(await dropIn('emergency.service')).toContain('UnsetEnvironment=SYSTEMD_SULOGIN_FORCE');
    expect(await dropIn('sysinit.target')).toContain('holdfast-firstboot.service');
    expect((await gates('status', '--root', folder)).status).toBe(0);
  });

  it('says that a unit is not bound, and leaves no trace when it is disabled', async () => {
    const own = join(folder, 'etc/systemd/system/ssh.service.d/own.conf');
    await mkdir(join(own, '..'), { recursive: true });
    await writeFile(own, '[Service]\nNice=1\n');
    await gates('enable', '--root', folder);
    await rm(join(folder, 'etc/systemd/system/ssh.service.d', DROP_IN));
    const status = await gates('status', '--root', folder);
    expect(status).toMatchObject({ status: 1, stdout: expect.stringContaining('missing  ssh.service') });
    expect((await gates('disable', '--root', folder)).status).toBe(0);
    expect(await readdir(join(folder, 'etc/systemd/system'), { recursive: true })).toEqual([
      'ssh.service.d',
      'ssh.service.d/own.conf',
    ]);
  });

  it('refuses a name that is no unit, before it writes anything', async () => {
    for (const words of [['enable', '--root', folder, '../x'], ['enable', '--root', folder, 'sshd'], []]) {
      expect((await gates(...words)).status).toBe(2);
    }
    expect(await readdir(folder)).toEqual([]);
  });
});

/** Runs a script as root of a network namespace of its own, with the quiet program as `quiet`. */
async function inNetwork(script: string): Promise<string> {
  const words = ['--user', '--map-root-user', '--net', 'sh', '-ec', script];
  const env = { quiet: join(PROGRAMS, 'quiet'), RUNTIME_DIRECTORY: folder, NOTIFY_SOCKET: '' };
  return (await needProgram('unshare', words, { env })).stdout;
}

describe('quiet close', () => {
  it('drops what comes in and what goes through, and loads the same again in place of what stood', async () => {
    const list = 'nft list ruleset';
    const [once, twice] = (await inNetwork(`"$quiet" close; ${list}; echo ---; "$quiet" close; ${list}`)).split(
      '---\n',
    );
    expect(once).toMatch(/hook input priority filter - 10; policy drop;/);
    expect(once).toMatch(/hook forward priority filter - 10; policy drop;/);
    expect(once?.match(/ accept$/gm)).toHaveLength(6);
    expect(twice).toBe(once);
  });

  it('fails when nftables is missing', async () => {
    const nothing = 'sed "s,^PATH=.*,PATH=/nowhere," "$quiet" >"$RUNTIME_DIRECTORY/quiet"';
    expect(await inNetwork(`${nothing}; sh "$RUNTIME_DIRECTORY/quiet" close 2>/dev/null || echo failed`)).toBe(
      'failed\n',
    );
  });

  it('fails when the kernel shows another rule than was loaded', async () => {
    // An nft that adds a rule behind its back.
    const other =
      'mkdir "$RUNTIME_DIRECTORY/bin"; printf "#!/bin/sh\\n/usr/sbin/nft \\"\\$@\\" || exit\\n[ \\"\\$1\\" != -f ] || /usr/sbin/nft add rule inet holdfast_quiet input tcp dport 22 accept\\n" >"$RUNTIME_DIRECTORY/bin/nft"; chmod 755 "$RUNTIME_DIRECTORY/bin/nft"';
    const program = 'sed "s,^PATH=,PATH=$RUNTIME_DIRECTORY/bin:," "$quiet" >"$RUNTIME_DIRECTORY/quiet"';
    expect(await inNetwork(`${other}; ${program}; sh "$RUNTIME_DIRECTORY/quiet" close 2>&1 || echo failed`)).toBe(
      'holdfast-quiet: the kernel does not show the rules that were loaded\nfailed\n',
    );
  });
});

describe('quiet guard', () => {
  it('keeps a table that a flush does not take, and puts the other one back', async () => {
    const said = await guarded(
      'nft flush ruleset; nft list table inet holdfast_guard | head -n 1; for i in 1 2 3 4 5 6 7 8 9 10; do sleep 0.2; nft list table inet holdfast_quiet >/dev/null 2>&1 && break; done; nft list tables | wc -l',
    );
    expect(said).toBe('table inet holdfast_guard { # progname nft\n2\n');
  });

  it('leaves the first table when it is killed', async () => {
    const said = await guarded('kill -9 "-$guard"; sleep 0.3; nft list tables');
    expect(said).toBe('table inet holdfast_quiet\n');
  });
});

/** What the script prints once both tables stand; the guard runs in a process group of its own. */
async function guarded(script: string): Promise<string> {
  const ready = 'until [ "$(nft list tables | wc -l)" = 2 ]; do sleep 0.1; done';
  // What systemd-notify answers without a systemd is not the guard's business here.
  const quietly =
    'mkdir -p "$RUNTIME_DIRECTORY/bin"; ln -sf /bin/true "$RUNTIME_DIRECTORY/bin/systemd-notify"; sed "s,^PATH=,PATH=$RUNTIME_DIRECTORY/bin:," "$quiet" >"$RUNTIME_DIRECTORY/quiet"';
  const start = 'setsid sh "$RUNTIME_DIRECTORY/quiet" guard >/dev/null 2>&1 & guard=$!';
  const end = 'kill -9 "-$guard" 2>/dev/null || :';
  return inNetwork(`${quietly}; ${start}; ${ready}; ${script}; ${end}`);
}
