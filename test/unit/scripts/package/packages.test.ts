import { createHash } from 'node:crypto';
import { cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { BUNDLES, DEVICE_PROGRAMS } from '../../../../scripts/build.ts';
import { buildPackage, gather, type Materials } from '../../../../scripts/package/build-packages.ts';
import { bundledPackages, bytesByPackage } from '../../../../scripts/package/bundled-packages.ts';
import { decodeEpoch, packageOf } from '../../../../scripts/package/contents.ts';
import { sbomOf } from '../../../../scripts/package/sbom.ts';
import { needProgram, runProgram } from '../../../../scripts/programs.ts';

const ROOT = join(import.meta.dirname, '../../../..');
const OUTPUTS = Object.fromEntries(DEVICE_PROGRAMS.map((name) => [name, BUNDLES[name].outfile]));
const WANTED = { variant: 'holdfast-agent', architecture: 'arm64' } as const;
let folder: string;
let materials: Materials;
type Meta = { outputs: Record<string, { bytes: number; inputs: Record<string, { bytesInOutput: number }> }> };
const metafiles = new Map<string, Meta>();

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'packages-'));
  materials = await gather(ROOT, 'Acme <images@acme.example>', '1700000000');
  for (const [name, output] of Object.entries(OUTPUTS))
    metafiles.set(output, JSON.parse(await readFile(join(ROOT, `build/${name}.meta.json`), 'utf8')));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

describe('a package', () => {
  it('is the same bytes when it is built again, later and elsewhere', async () => {
    // A date that is to come, as a commit's may be here: dpkg-deb alone only brings later dates back to it.
    const toCome = { ...materials, sourceDateEpoch: 4_000_000_000 };
    const first = await buildPackage(ROOT, toCome, WANTED, join(folder, 'first'));
    // Names of temporary folders, times of files and the compressor's threads are what differs between two builds.
    await new Promise((resolve) => setTimeout(resolve, 1100));
    const second = await buildPackage(ROOT, toCome, WANTED, join(folder, 'second/deeper'));
    expect(second.sha256).toBe(first.sha256);
    const other = await buildPackage(ROOT, { ...materials, sourceDateEpoch: 1 }, WANTED, join(folder, 'third'));
    expect(other.sha256).not.toBe(first.sha256);
  });

  it('holds what it says, owned by root, and nothing below /etc but an empty folder', async () => {
    const { path } = await buildPackage(ROOT, materials, WANTED, join(folder, 'contents'));
    const lines = (await needProgram('dpkg-deb', ['--contents', path])).stdout.trim().split('\n');
    const entries = lines
      .map((line) => line.split(/\s+/))
      .map(([mode, owner, , , , name]) => `${mode} ${owner} ${name}`);
    expect(entries.every((entry) => entry.includes(' root/root '))).toBe(true);
    expect(entries.filter((entry) => /^-/.test(entry)).map((entry) => entry.replace(' root/root', ''))).toEqual([
      '-rwxr-xr-x ./usr/bin/holdfast-agent',
      '-rwxr-xr-x ./usr/lib/holdfast/agent.mjs',
      '-rwxr-xr-x ./usr/lib/holdfast/first-boot/askpass',
      '-rwxr-xr-x ./usr/lib/holdfast/first-boot/holdfast-gates',
      '-rw-r--r-- ./usr/lib/holdfast/first-boot/open.units',
      '-rwxr-xr-x ./usr/lib/holdfast/first-boot/quiet',
      '-rw-r--r-- ./usr/lib/holdfast/first-boot/quiet.units',
      '-rwxr-xr-x ./usr/lib/holdfast/first-boot/start-refused',
      '-rwxr-xr-x ./usr/lib/holdfast/firstboot.mjs',
      '-rwxr-xr-x ./usr/lib/holdfast/setup.mjs',
      '-rw-r--r-- ./usr/lib/systemd/system/holdfast-agent.service',
      '-rw-r--r-- ./usr/lib/systemd/system/holdfast-firstboot.service',
      '-rw-r--r-- ./usr/lib/systemd/system/holdfast-firstboot.timer',
      '-rw-r--r-- ./usr/lib/systemd/system/holdfast-open.service',
      '-rw-r--r-- ./usr/lib/systemd/system/holdfast-open.timer',
      '-rw-r--r-- ./usr/lib/systemd/system/holdfast-quiet-guard.service',
      '-rw-r--r-- ./usr/lib/systemd/system/holdfast-quiet.service',
      '-rw-r--r-- ./usr/lib/systemd/system/holdfast-quiet.timer',
      '-rw-r--r-- ./usr/lib/systemd/system-preset/80-holdfast-agent.preset',
      '-rw-r--r-- ./usr/share/doc/holdfast-agent/FIRST_BOOT_GATES.md.gz',
      '-rw-r--r-- ./usr/share/doc/holdfast-agent/PACKAGING.md.gz',
      '-rw-r--r-- ./usr/share/doc/holdfast-agent/changelog.gz',
      '-rw-r--r-- ./usr/share/doc/holdfast-agent/copyright',
      '-rw-r--r-- ./usr/share/holdfast-agent/agent.cdx.json',
      '-rw-r--r-- ./usr/share/holdfast-agent/u-boot/boot.cmd',
      '-rw-r--r-- ./usr/share/lintian/overrides/holdfast-agent',
      '-rw-r--r-- ./usr/share/man/man8/holdfast-agent.8.gz',
    ]);
    const control = (await needProgram('dpkg-deb', ['--field', path])).stdout;
    expect(control).toContain('Architecture: arm64');
    expect(control).toContain('Depends: nodejs (>= 22.15)');
  });

  it('starts Node as bin/holdfast-agent does', async () => {
    const { files } = await packageOf(ROOT, { ...materials, ...WANTED, runtime: undefined });
    const content = files.find(({ path }) => path === '/usr/bin/holdfast-agent')?.content;
    const text = content !== undefined && 'bytes' in content ? String(content.bytes) : '';
    const exec = (await readFile(join(ROOT, 'bin/holdfast-agent'), 'utf8')).trim().split('\n').at(-1) ?? 'none';
    expect(text.trim().endsWith(exec)).toBe(true);
    expect((await runProgram('sh', ['-n'], { input: text })).status).toBe(0);
  });

  it('starts each command from its own bundle, as bin/holdfast-agent does', async () => {
    const { files } = await packageOf(ROOT, { ...materials, ...WANTED, runtime: undefined });
    const content = files.find(({ path }) => path === '/usr/bin/holdfast-agent')?.content;
    const text = content !== undefined && 'bytes' in content ? String(content.bytes) : '';
    const told = text.replace(/^\[ -x .*$/m, '').replace(/^exec .*$/m, 'echo "$bundle $1"');
    const bundleFor = async (word: string) =>
      (await runProgram('sh', ['-s', word, '--json'], { input: told })).stdout.trim();
    expect(await bundleFor('firstboot')).toBe('/usr/lib/holdfast/firstboot.mjs firstboot');
    for (const word of ['adopt', 'doctor']) expect(await bundleFor(word)).toBe(`/usr/lib/holdfast/setup.mjs ${word}`);
    expect(await bundleFor('run')).toBe('/usr/lib/holdfast/agent.mjs run');
  });

  it('is refused a date that is none', () => {
    expect(() => decodeEpoch('yesterday')).toThrow(expect.objectContaining({ exitStatus: 2 }));
    expect(decodeEpoch('1700000000')).toBe(1_700_000_000);
  });
});

describe('the bill of materials', () => {
  const read = () => JSON.parse(sbomOf({ ...materials, runtime: undefined }));

  it('lists the packages of which bytes are in the bundle, all of them and no other', () => {
    const inputs = [...metafiles].flatMap(([output, meta]) => Object.entries(meta.outputs[output]?.inputs ?? {}));
    const inFile = inputs.filter(([name, { bytesInOutput }]) => bytesInOutput > 0 && name.includes('node_modules/'));
    const names = inFile.map(([name]) => /.*node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(name)?.[1]);
    expect(read().components.map(({ name }: { name: string }) => name)).toEqual([...new Set(names)].sort());
    expect(read().components.length).toBeGreaterThan(3);
  });

  it('gives each its version, licence, archive hash and size', async () => {
    const lock = JSON.parse(await readFile(join(ROOT, 'package-lock.json'), 'utf8'));
    for (const { name, version, licenses, hashes, properties } of read().components) {
      const pinned = lock.packages[`node_modules/${name}`];
      expect(version).toBe(pinned.version);
      expect(`sha512-${Buffer.from(hashes[0].content, 'hex').toString('base64')}`).toBe(pinned.integrity);
      expect(licenses[0].license?.id ?? licenses[0].expression).toBe(pinned.license);
      const bytes = [...metafiles].map(
        ([output, meta]) => bytesByPackage(meta, output).get(`node_modules/${name}`) ?? 0,
      );
      expect(Number(properties[0].value)).toBe(bytes.reduce((sum, each) => sum + each, 0));
    }
  });

  it('names each bundle by its hash, and refers only to what it lists', () => {
    const { metadata, components, dependencies } = read();
    const named = metadata.component.components.map((one: { name: string; hashes: { content: string }[] }) => [
      one.name,
      one.hashes[0]?.content,
    ]);
    const built = materials.programs.map(({ name, bytes }) => [
      `${name}.mjs`,
      createHash('sha256').update(bytes).digest('hex'),
    ]);
    expect(named).toEqual(built);
    expect(named.length).toBe(3);
    const refs = [metadata.component, ...components].map((one) => one['bom-ref']);
    expect(dependencies.map(({ ref }: { ref: string }) => ref).sort()).toEqual([...refs].sort());
    for (const { dependsOn } of dependencies) for (const ref of dependsOn) expect(refs).toContain(ref);
  });

  it('leaves out what tree shaking left out, and refuses a package without a licence or another than is pinned', async () => {
    const tree = join(folder, 'tree');
    await mkdir(join(tree, 'node_modules/left'), { recursive: true });
    const meta = (bytesInOutput: number) => ({
      outputs: { out: { bytes: 9, inputs: { 'node_modules/left/i.js': { bytesInOutput } } } },
    });
    const lock = { packages: { 'node_modules/left': { version: '1.0.0', integrity: 'sha512-AA==' } } };
    await writeFile(join(tree, 'package-lock.json'), JSON.stringify(lock));
    const manifest = (facts: object) =>
      writeFile(join(tree, 'node_modules/left/package.json'), JSON.stringify({ name: 'left', ...facts }));
    await manifest({ version: '1.0.0', license: 'MIT' });
    expect(await bundledPackages(tree, meta(0), 'out')).toEqual([]);
    await expect(bundledPackages(tree, meta(5), 'out')).rejects.toMatchObject({ code: 'package-unfit' });
    await writeFile(join(tree, 'node_modules/left/LICENSE'), 'as you like');
    expect(await bundledPackages(tree, meta(5), 'out')).toMatchObject([{ name: 'left', licenseText: 'as you like' }]);
    await manifest({ version: '1.0.1', license: 'MIT' });
    await expect(bundledPackages(tree, meta(5), 'out')).rejects.toMatchObject({ code: 'package-unfit' });
    await manifest({ version: '1.0.0' });
    await expect(bundledPackages(tree, meta(5), 'out')).rejects.toMatchObject({ code: 'package-unfit' });
  });
});

describe('the unit', () => {
  it('is one that systemd understands, word by word', async () => {
    // The program that it starts is not installed here; everything else is as shipped.
    const text = await readFile(join(ROOT, 'agent/systemd/holdfast-agent.service'), 'utf8');
    const unit = join(folder, 'holdfast-agent.service');
    await writeFile(
      unit,
      text.replace('/usr/bin/holdfast-agent run', '/bin/true run').replace(/^Documentation=.*$/m, ''),
    );
    const { status, stdout, stderr } = await runProgram('systemd-analyze', ['verify', '--man=no', unit]);
    expect(`${status} ${stdout}${stderr}`).toBe('0 ');
  });

  it('has the exposure that docs/PACKAGING.md says', async () => {
    const unit = join(folder, 'exposure/holdfast-agent.service');
    await mkdir(join(folder, 'exposure'));
    await cp(join(ROOT, 'agent/systemd/holdfast-agent.service'), unit);
    const { stdout } = await runProgram('systemd-analyze', ['security', '--offline=true', '--no-pager', unit]);
    const figure = /Overall exposure level for \S+: ([0-9.]+)/.exec(stdout)?.[1];
    expect(await readFile(join(ROOT, 'docs/PACKAGING.md'), 'utf8')).toContain(`says ${figure} `);
  });
});

/** The scripts as dpkg calls them, with a systemctl that notes what it is asked; for dpkg itself see `package -- --check`. */
describe('maintainer scripts', () => {
  async function script(name: string, ...words: string[]): Promise<{ status: number; said: string; calls: string }> {
    const programs = await mkdtemp(join(folder, 'programs-'));
    await writeFile(join(programs, 'systemctl'), `#!/bin/sh\necho "$@" >> ${programs}/calls\nexit 1\n`, {
      mode: 0o755,
    });
    for (const tool of ['sh', 'grep', 'rmdir', 'rm']) await symlink(`/bin/${tool}`, join(programs, tool));
    const env = { PATH: programs };
    const { status, stdout, stderr } = await runProgram(
      '/bin/sh',
      [join(ROOT, 'scripts/package/debian', name), ...words],
      { env },
    );
    const calls = await readFile(join(programs, 'calls'), 'utf8').catch(() => '');
    return { status, said: stdout + stderr, calls };
  }

  it('enable, start and restart nothing', async () => {
    const { status, calls } = await script('postinst', 'configure', '');
    expect(status).toBe(0);
    expect(calls.replaceAll('--system daemon-reload\n', '')).toBe('');
  });

  it('do nothing for what they do not know, and twice', async () => {
    for (const name of ['preinst', 'postinst', 'prerm', 'postrm'])
      for (const word of ['abort-upgrade', 'upgrade', 'disappear', 'abort-upgrade'])
        expect(await script(name, word, '0.1.0')).toMatchObject({ status: 0, said: '', calls: '' });
  });
});
