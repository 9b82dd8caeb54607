/**
 * What is in a package: the three bundles, their launcher, the units, the gates of the first boot, U-Boot's boot script, the
 * bill of materials, the licences, and Node in one of the two variants. No file under /etc: a configuration is a device's
 * own, and adopt or the image's maker writes it.
 */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { EXIT, Fault } from '../../platform/fault.ts';
import type { DeviceProgram } from '../build.ts';
import type { BundledPackage } from './bundled-packages.ts';
import type { DebFacts, PackagedFile } from './deb.ts';
import { firstBootFiles } from './first-boot-files.ts';
import type { Architecture, NodeRuntime } from './node-runtime.ts';
import { sbomOf } from './sbom.ts';

export const VARIANTS = ['holdfast-agent', 'holdfast-agent-node'] as const;
export type Variant = (typeof VARIANTS)[number];

export interface PackageFacts {
  readonly variant: Variant;
  readonly architecture: Architecture;
  readonly version: string;
  /** `Name <address>`: who answers for the package; a device maker's own, when it is one that builds it. */
  readonly maintainer: string;
  /** Each is a file of its own; the launcher chooses by its first word. */
  readonly programs: readonly { readonly name: DeviceProgram; readonly bytes: Uint8Array }[];
  /** What the agent says to --help. */
  readonly usage: string;
  readonly ownBytes: number;
  readonly packages: readonly BundledPackage[];
  /** In the variant that brings it. */
  readonly runtime: NodeRuntime | undefined;
  readonly sourceDateEpoch: number;
}

const OLDEST_NODE = '22.15';
/** What Node's program asks of the system: the newest symbols of `objdump -p`, as Debian names the packages. */
const NODE_LIBRARIES = 'libc6 (>= 2.28), libgcc-s1 (>= 3.4), libstdc++6 (>= 5.2)';

export async function packageOf(root: string, facts: PackageFacts): Promise<DebFacts> {
  const { variant, sourceDateEpoch } = facts;
  const doc = `/usr/share/doc/${variant}`;
  const share = '/usr/share/holdfast-agent';
  const text = (path: string): Promise<string> => readFile(join(root, path), 'utf8');
  const file = (path: string, bytes: string | Uint8Array, mode: 0o644 | 0o755 = 0o644): PackagedFile => ({
    path,
    mode,
    content: { bytes },
  });
  const unit = (await text('agent/systemd/holdfast-agent.service')).replace('/doc/holdfast-agent/', `/doc/${variant}/`);
  const files = [
    file('/usr/bin/holdfast-agent', await launcher(root), 0o755),
    ...facts.programs.map(({ name, bytes }) => file(`/usr/lib/holdfast/${name}.mjs`, bytes, 0o755)),
    file('/usr/lib/systemd/system/holdfast-agent.service', unit),
    file('/usr/lib/systemd/system-preset/80-holdfast-agent.preset', 'disable holdfast-agent.service\n'),
    ...(await firstBootFiles(root, variant)),
    file(`${share}/agent.cdx.json`, sbomOf(facts)),
    file(`${share}/u-boot/boot.cmd`, await text('agent/boards/u-boot/boot.cmd')),
    file('/usr/share/man/man8/holdfast-agent.8.gz', compress(manualPage(facts))),
    file(`${doc}/PACKAGING.md.gz`, compress(await text('docs/PACKAGING.md'))),
    file(`${doc}/FIRST_BOOT_GATES.md.gz`, compress(await text('docs/FIRST_BOOT_GATES.md'))),
    file(`${doc}/changelog.gz`, compress(changelog(facts))),
    file(`${doc}/copyright`, copyright(facts)),
    ...(await runtimeFiles(facts.runtime, doc)),
    ...(await lintianOverrides(root, variant)),
  ];
  return {
    control: controlOf(facts),
    maintainerScripts: await maintainerScripts(root),
    files,
    folders: ['/etc/holdfast'],
    sourceDateEpoch,
  };
}

function controlOf({ variant, architecture, version, maintainer, runtime }: PackageFacts): Record<string, string> {
  const other = VARIANTS.filter((name) => name !== variant).join();
  return {
    Package: variant,
    Version: version,
    Architecture: architecture,
    Maintainer: maintainer,
    Section: 'admin',
    Priority: 'optional',
    Depends: runtime === undefined ? `nodejs (>= ${OLDEST_NODE})` : NODE_LIBRARIES,
    Suggests: 'libubootenv-tool, nftables',
    Conflicts: other,
    Replaces: other,
    Description: describe(runtime),
  };
}

function describe(runtime: NodeRuntime | undefined): string {
  const withNode = runtime === undefined ? '' : `, with Node ${runtime.version}`;
  return [
    `agent of signed A/B firmware updates${withNode}`,
    ' Keeps a device on firmware that its owner signed: writes a release into the',
    ' slot that does not run, boots it on trial, and confirms it only once it is',
    ' healthy.',
    ' .',
    ' Installed it is inactive, and changes no login, firewall or boot setting;',
    ' "holdfast-agent adopt" says what taking a machine over would change.',
  ].join('\n');
}

/** bin/holdfast-agent ends with how Node is started: the package must not drift from it. */
async function launcher(root: string): Promise<string> {
  const [start] =
    /^# glibc keeps[\s\S]*^exec "\$node"[^\n]*\n$/m.exec(await readFile(join(root, 'bin/holdfast-agent'), 'utf8')) ??
    [];
  if (start === undefined)
    throw new Error('bin/holdfast-agent does not end with how Node is started: look at launcher() again');
  return (await readFile(join(root, 'scripts/package/debian/launcher'), 'utf8')) + start;
}

async function maintainerScripts(root: string): Promise<Record<string, string>> {
  const folder = join(root, 'scripts/package/debian');
  const names = (await readdir(folder)).filter((name) => /^(pre|post)(inst|rm)$/.test(name)).sort();
  const texts = names.map(async (name) => [name, await readFile(join(folder, name), 'utf8')] as const);
  return Object.fromEntries(await Promise.all(texts));
}

async function lintianOverrides(root: string, variant: Variant): Promise<PackagedFile[]> {
  const lines = (await readFile(join(root, 'scripts/package/debian/lintian-overrides'), 'utf8')).split('\n');
  const forAll = lines.filter((line) => variant.endsWith('-node') || !line.includes('[usr/lib/holdfast/'));
  const bytes = forAll.map((line) => (/^[a-z]/.test(line) ? `${variant}: ${line}` : line)).join('\n');
  return [{ path: `/usr/share/lintian/overrides/${variant}`, mode: 0o644, content: { bytes } }];
}

async function runtimeFiles(runtime: NodeRuntime | undefined, doc: string): Promise<PackagedFile[]> {
  if (runtime === undefined) return [];
  const license = compress(await readFile(runtime.licenseFile, 'utf8'));
  return [
    { path: '/usr/lib/holdfast/node', mode: 0o755, content: { copyOf: runtime.program } },
    { path: `${doc}/node-LICENSE.gz`, mode: 0o644, content: { bytes: license } },
  ];
}

/** No name and no date in the header (gzip -n), so that the same text gives the same bytes. */
function compress(text: string): Uint8Array {
  return gzipSync(text, { level: 9 });
}

function changelog({ variant, version, maintainer, sourceDateEpoch }: PackageFacts): string {
  const date = new Date(sourceDateEpoch * 1000).toUTCString().replace('GMT', '+0000');
  return `${variant} (${version}) unstable; urgency=medium\n\n  * Built from the sources of ${version}.\n\n -- ${maintainer}  ${date}\n`;
}

function manualPage({ usage, version }: PackageFacts): string {
  const safe = usage
    .replaceAll('\\', '\\e')
    .replaceAll('-', '\\-')
    .replaceAll(/^([.'])/gm, '\\&$1');
  const [first = '', ...rest] = safe.split('\n');
  return `.TH HOLDFAST\\-AGENT 8 "" "holdfast\\-agent ${version}"\n.SH NAME\n${first.replace(': ', ' \\- ')}\n.SH USAGE\n.nf\n${rest.join('\n').trim()}\n.fi\n`;
}

/** https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/ — the bundle is minified, so its licences lie here. */
function copyright({ packages, programs, runtime }: PackageFacts): string {
  const indented = (text: string): string =>
    text
      .trim()
      .split('\n')
      .map((line) => ` ${line.trim() === '' ? '.' : line.trimEnd()}`)
      .join('\n');
  const short = ({ name, license }: BundledPackage): string =>
    `${name.replace(/^@/, '').replace('/', '-')}-${license.split(' ')[0]?.replace('(', '')}`;
  const parts = [
    'Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\nUpstream-Name: holdfast',
    'Files: *\nCopyright: The Holdfast developers\nLicense: Apache-2.0',
    [
      `Files: ${programs.map(({ name }) => `usr/lib/holdfast/${name}.mjs`).join(' ')}`,
      `Copyright: The Holdfast developers\n${packages.map(({ name, version }) => ` the authors of ${name} ${version}`).join('\n')}`,
      `License: ${['Apache-2.0', ...packages.map(short)].join(' and ')}`,
    ].join('\n'),
    ...(runtime === undefined
      ? []
      : [
          `Files: usr/lib/holdfast/node\nCopyright: the contributors of Node.js ${runtime.version} and of what it contains\nLicense: node-MIT`,
        ]),
    'License: Apache-2.0\n On Debian systems, the text is in /usr/share/common-licenses/Apache-2.0.',
    ...packages.map((one) => `License: ${short(one)}\n${indented(withoutGpl(one.licenseText))}`),
    ...(runtime === undefined ? [] : ['License: node-MIT\n The texts are in node-LICENSE.gz beside this file.']),
  ];
  return `${parts.join('\n\n')}\n`;
}

/** Where a package leaves the choice of the GPL, its text is that of every Debian (Debian policy 12.5). */
function withoutGpl(text: string): string {
  const [before = '', ...rest] = text.split(/^.*GNU GENERAL PUBLIC LICENSE.*$/m);
  return rest.length === 0 ? text : `${before.trim()}\n\nThe GPL is in /usr/share/common-licenses/GPL-2.`;
}

/** Seconds since 1970 that every date in the packages is: SOURCE_DATE_EPOCH, as reproducible-builds.org defines it. */
export function decodeEpoch(text: string): number {
  const seconds = /^\d{1,11}$/.test(text) ? Number(text) : Number.NaN;
  if (Number.isSafeInteger(seconds)) return seconds;
  throw new Fault({
    code: 'usage',
    what: 'SOURCE_DATE_EPOCH is no number of seconds',
    where: text,
    cure: 'Set it to seconds since 1970, or leave it out: the date of the last commit is taken.',
    exitStatus: EXIT.usage,
  });
}
