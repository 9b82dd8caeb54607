/** `holdfast release`: build, try, sign, publish; and what the server has. */
import { stat } from 'node:fs/promises';
import type { Command } from 'commander';
import { encodeDelta } from '../../delta/encode/encode.ts';
import { readBaseMetadata } from '../../keys/base-metadata.ts';
import { refused } from '../../keys/refused.ts';
import { buildRelease } from '../../keys/release-build.ts';
import { openReleaseFolder } from '../../keys/release-folder.ts';
import type { ReleasePlan } from '../../keys/release-plan.ts';
import { planPublication } from '../../keys/release-publication.ts';
import { signRelease } from '../../keys/release-sign.ts';
import { faultOfSystemError } from '../../platform/command-line.ts';
import { EXIT, Fault } from '../../platform/fault.ts';
import type { ReleaseView } from '../../protocol/operator-api.ts';
import { addCommand, addGroup, collectValues, type Finish, type Outcome, onRun } from '../command.ts';
import { parseImage } from '../image-option.ts';
import { imageProgress, type Output } from '../output.ts';
import { passphraseSource } from '../passphrase-source.ts';
import { formatBytes } from '../progress.ts';
import { type Sighting, seekAgent } from '../release-agent.ts';
import { isReleaseFolder } from '../release-place.ts';
import { metadataOfServer } from '../server-metadata.ts';
import { withServer } from '../session.ts';
import { transportOf, transportRows } from '../transport-rows.ts';
import { parseWholeNumber, USUAL_WAVES } from '../waves.ts';
import { addExportCommand } from './release-export.ts';
import { addPreflightCommand } from './release-preflight.ts';

interface BuildOptions {
  readonly vendor: string;
  readonly class: string;
  readonly channel: string;
  readonly version: string;
  readonly sequence: string;
  readonly floor?: string;
  readonly image: readonly string[];
  readonly agentIn?: string;
  readonly withoutAgent?: string;
  readonly metadata?: string;
  readonly server?: boolean;
  readonly root?: string;
  readonly out: string;
}

const nowUnixS = (): number => Math.floor(Date.now() / 1000);
const SEQUENCE_AT_MOST = 2 ** 48;

function usage(code: string, what: string, where: string, cure: string): Fault {
  return new Fault({ code, what, where, cure, exitStatus: EXIT.usage });
}

async function baseFor(out: Output, options: BuildOptions) {
  if (options.metadata !== undefined && options.server === true) {
    throw usage('options-conflict', '--metadata and --server exclude each other', '--server', 'Give one of them.');
  }
  if (options.metadata !== undefined) return readBaseMetadata(options.metadata);
  if (options.server !== true) {
    throw usage(
      'option-missing',
      'the metadata to build upon is not named',
      '--metadata',
      'Give --server, or --metadata FOLDER (the public folder of the ceremony for a first release).',
    );
  }
  return withServer(out, async ({ api, profile }) => {
    return metadataOfServer(api, profile, options.root);
  });
}

async function build(out: Output, options: BuildOptions): Promise<Outcome> {
  const sequence = parseWholeNumber(options.sequence, '--sequence', 1, SEQUENCE_AT_MOST);
  const floor =
    options.floor === undefined
      ? {}
      : { floorSequence: parseWholeNumber(options.floor, '--floor', 0, SEQUENCE_AT_MOST) };
  const images = options.image.map(parseImage);
  const base = await baseFor(out, options);
  const exception = demandAgent(out, options, images, base.root.holdfast.environment);
  const plan = await buildRelease({
    ...floor,
    ...exception,
    folder: options.out,
    base,
    vendor: options.vendor,
    hardwareClass: options.class,
    channel: options.channel,
    version: options.version,
    sequence,
    images,
    nowUnixS: nowUnixS(),
    onImage: imageProgress(out, 'Reading'),
  });
  if (options.server !== true) out.environment(plan.environment);
  out.say(`Built ${options.out}`);
  sayPlan(out, plan);
  out.next(
    `holdfast release preflight ${options.out} ${options.server === true ? '--server' : '--from FOLDER'}   (tries it on emulated devices)`,
    `holdfast release sign ${options.out} --key author-${plan.hardwareClass}/author.key`,
  );
  return { document: { folder: options.out, release: plan } };
}

/**
 * Before minutes of hashing. On a production root a release without an agent needs the exception. Emulated devices run
 * theirs beside the images, so that for a lab or a rehearsal it is a warning.
 */
function demandAgent(
  out: Output,
  options: BuildOptions,
  images: readonly { readonly path: string }[],
  environment: ReleasePlan['environment'],
): { readonly withoutAgent?: string } {
  const sighting = seekAgent([...images.map(({ path }) => path), ...(options.agentIn ? [options.agentIn] : [])]);
  if (options.withoutAgent !== undefined) {
    if (sighting.seen !== 'agent') return { withoutAgent: options.withoutAgent };
    const what = `${sighting.where} does bring an agent`;
    throw usage('agent-present', what, '--without-agent', 'Leave the option out; an exception must be true.');
  }
  const fault = faultOf(sighting);
  if (fault === undefined) return {};
  if (environment === 'production') throw fault;
  out.warn(`note: ${fault.what}. With a production root this is refused.`);
  return {};
}

function faultOf(sighting: Sighting): Fault | undefined {
  if (sighting.seen === 'agent') return undefined;
  const except = 'if it is meant to bring none, --without-agent "WHY", which is signed and which devices are shown';
  if (sighting.seen === 'none') {
    return refused(
      'agent-absent',
      `none of the images brings an agent (${sighting.lacks}): no device could confirm it, and on its trial nothing guards the secrets in it`,
      '--image',
      `Put the agent into the root file system (docs/PACKAGING.md); or, ${except}.`,
    );
  }
  return refused(
    'agent-unseen',
    `whether an image brings an agent cannot be seen (${sighting.why})`,
    '--image',
    `Name the folder or the plain image that it was made from, --agent-in PATH; or, ${except}.`,
  );
}

function sayPlan(out: Output, plan: ReleasePlan): void {
  out.table([
    ['release', plan.releasePath],
    ['for', `${plan.vendor}, class ${plan.hardwareClass}, channel ${plan.channel}`],
    ['version', `${plan.version} (sequence ${plan.sequence}, floor ${plan.floorSequence})`],
    ['built', new Date(plan.buildUnixS * 1000).toISOString()],
    ...plan.images.map((image) => [
      `image ${image.component}`,
      `${formatBytes(image.sizeBytes)}, sha256 ${image.sha256}`,
    ]),
    ['targets', `version ${plan.targets.version}, expires ${new Date(plan.targets.expiresUnixS * 1000).toISOString()}`],
    ...(plan.withoutAgent === undefined ? [] : [['WITHOUT AGENT', plan.withoutAgent]]),
    ['environment', plan.environment],
  ]);
}

interface SignOptions {
  readonly key: string;
  readonly root?: string;
  readonly passphraseFile?: string;
}

async function sign(out: Output, folder: string, options: SignOptions): Promise<Outcome> {
  const state = await signRelease({
    folder,
    keyPath: options.key,
    ...(options.root === undefined ? {} : { rootPath: options.root }),
    passphraseFor: passphraseSource(options.passphraseFile, false),
    onPlan(plan, key) {
      out.environment(plan.environment);
      out.say(`Signing as ${key.person} (${key.role} key ${key.keyId.slice(0, 16)}…):`);
      sayPlan(out, plan);
    },
    onImage: imageProgress(out, 'Checking'),
  });
  const { role, keyId, added, signatures, threshold, complete } = state;
  out.say();
  if (!added) out.say(`${role === 'author' ? 'An author' : 'This key'} had signed before; no signature was added.`);
  else if (role === 'author') out.say('Signed: release.suit stands, and targets.json is drafted.');
  else out.say(`Signed: ${signatures} of ${threshold} targets signatures.`);
  if (complete) out.next(`holdfast release publish ${folder}`);
  else out.next(`holdfast release sign ${folder} --key person-N/targets.key   (${threshold - signatures} more needed)`);
  return {
    document: { folder, role, keyId, added, signatures, threshold, complete, environment: state.plan.environment },
  };
}

function publish(out: Output, folder: string): Promise<Outcome> {
  return withServer(out, async ({ api }) => {
    const publication = await planPublication(folder, nowUnixS(), imageProgress(out, 'Checking'));
    let uploadedBytes = 0;
    for (const artifact of publication.artifacts) {
      if (await api.hasArtifact(artifact.sha256, artifact.sizeBytes)) {
        out.say(`${artifact.label}: the server has it already`);
        continue;
      }
      const progress = out.progress(`Uploading ${artifact.label}`, artifact.sizeBytes);
      await api.putArtifact(artifact, (doneBytes) => progress.update(doneBytes));
      progress.finish();
      uploadedBytes += artifact.sizeBytes;
    }
    const answer = await api.publish({ roots: [], targets: publication.targets });
    const { releasePath, version } = publication.plan;
    out.say(`Published ${version} as ${releasePath} (targets version ${answer.targetsVersion}).`);
    out.next(`holdfast rollout start ${releasePath} --waves "${USUAL_WAVES}"`);
    return { document: { releasePath, version, uploadedBytes, ...answer } };
  });
}

function releaseRow(release: ReleaseView): string[] {
  const size = release.images.reduce((sum, image) => sum + image.sizeBytes, 0);
  return [
    release.releasePath,
    release.version,
    String(release.sequence),
    release.channel,
    formatBytes(size),
    new Date(release.publishedUnixMs).toISOString(),
  ];
}

function list(out: Output): Promise<Outcome> {
  return withServer(out, async ({ api }) => {
    const { releases } = await api.releases();
    if (releases.length === 0) out.say('No release has been published yet.');
    else out.table([['release', 'version', 'sequence', 'channel', 'size', 'published'], ...releases.map(releaseRow)]);
    return { document: { releases } };
  });
}

async function show(out: Output, path: string): Promise<Outcome> {
  if (await isReleaseFolder(path)) {
    const { plan, envelope, targetsSigners, base } = await openReleaseFolder(path);
    const { threshold } = base.root.roles.targets;
    out.environment(plan.environment);
    sayPlan(out, plan);
    out.say(
      `Signatures: author ${envelope === undefined ? 'missing' : 'good'}, targets ${targetsSigners.length} of ${threshold}.`,
    );
    return {
      document: { folder: path, release: plan, authorSigned: envelope !== undefined, targetsSigners, threshold },
    };
  }
  return withServer(out, async ({ api }) => {
    const all = await api.releases();
    const release = all.releases.find((candidate) => candidate.releasePath === path);
    if (release === undefined) {
      throw new Fault({
        code: 'release-unknown',
        what: 'this is neither a release folder here nor a release on the server',
        where: path,
        cure: 'See holdfast release list.',
        exitStatus: EXIT.input,
      });
    }
    out.table([
      ['release', release.releasePath],
      ['class, channel', `${release.hardwareClass}, ${release.channel}`],
      ['version', `${release.version} (sequence ${release.sequence}, floor ${release.floorSequence})`],
      ['published', new Date(release.publishedUnixMs).toISOString()],
      ...release.images.map((image) => [
        `image ${image.component}`,
        `${formatBytes(image.sizeBytes)}, sha256 ${image.sha256}`,
      ]),
      ...transportRows(release, all),
    ]);
    return { document: { release, transport: transportOf(release, all) } };
  });
}

interface DeltaOptions {
  readonly from: string;
  readonly to: string;
  readonly out: string;
  readonly memory: string;
}

async function delta(out: Output, options: DeltaOptions): Promise<Outcome> {
  const memoryMib = parseWholeNumber(options.memory, '--memory', 64, 65_536);
  for (const path of [options.from, options.to]) {
    await stat(path).catch((error: unknown) => {
      throw faultOfSystemError(error, path) ?? error;
    });
  }
  const startedMs = performance.now();
  let step = '';
  let progress: ReturnType<Output['progress']> | undefined;
  const result = await encodeDelta({
    oldPath: options.from,
    newPath: options.to,
    outPath: options.out,
    memoryBytes: memoryMib * 2 ** 20,
    onProgress(name, done, total) {
      if (name !== step) progress?.finish();
      if (name !== step) progress = out.progress(name, total, name === 'content' ? formatBytes : String);
      step = name;
      progress?.update(done);
    },
  });
  progress?.finish();
  const seconds = (performance.now() - startedMs) / 1000;
  const { sizeBytes, newSizeBytes, profile } = result;
  out.say(
    `${options.out}: ${formatBytes(sizeBytes)} for an image of ${formatBytes(newSizeBytes)}, proven, in ${seconds.toFixed(1)} s`,
  );
  out.table([
    ['stream', 'bytes'],
    ...Object.entries(profile.packed).map(([name, bytes]) => [name, bytes.toLocaleString('en-US')]),
  ]);
  return { document: { out: options.out, seconds, ...result } };
}

function addOfflineCommands(group: Command, finish: Finish): void {
  const buildCommand = addCommand(group, {
    usage: 'build',
    summary: 'make a release folder from image files',
    details: 'Reads each image once, writes block maps, the manifest and the plan that people will sign. Needs no key.',
    examples: [
      'holdfast release build --vendor acme.example --class acme-cam --channel stable --version 2.0.0 --sequence 2 \\\n    --image boot=boot.img --image rootfs=rootfs.img --server --out rel-2',
    ],
  })
    .requiredOption('--vendor <NAME>', 'vendor that devices of this class know')
    .requiredOption('--class <NAME>', 'hardware class')
    .requiredOption('--channel <NAME>', 'channel that the devices follow')
    .requiredOption('--version <TEXT>', 'what people call the release')
    .requiredOption('--sequence <N>', 'what devices compare: higher than every release before')
    .option('--floor <N>', 'devices that confirmed this release never go below this sequence again (security fixes)')
    .requiredOption('--image <COMPONENT=FILE>', 'an image; give the option once for each', collectValues, [])
    .option(
      '--agent-in <PATH>',
      'where the agent can be seen when an image cannot be read: the folder that it was made from',
    )
    .option('--without-agent <WHY>', 'an exception that is signed: none of the images brings an agent')
    .option('--metadata <FOLDER>', 'build upon the metadata in this folder (CEREMONY/public for a first release)')
    .option('--server', 'build upon what the server of your profile has')
    .option('--root <FILE>', 'with --server: the root to trust, instead of the one met at login')
    .requiredOption('--out <FOLDER>', 'the release folder to make');
  onRun<BuildOptions>(buildCommand, finish, build);
  const signCommand = addCommand(group, {
    usage: 'sign FOLDER',
    summary: 'sign a release folder: the author first, then enough people',
    details:
      'Reads every image again and derives everything anew; signs what the plan says, or nothing. Asks for the passphrase last.',
    examples: [
      'holdfast release sign rel-2 --key author-acme-cam/author.key',
      'holdfast release sign rel-2 --key person-1/targets.key',
    ],
  })
    .requiredOption('--key <FILE>', 'author.key or targets.key')
    .option('--root <FILE>', 'the root that you trust; default: 1.root.json beside the key')
    .option('--passphrase-file <FILE>', 'file with the passphrase of the key; else the terminal asks');
  onRun<SignOptions>(signCommand, finish, (out, options, folder = '') => sign(out, folder, options));
}

export function addReleaseCommands(program: Command, finish: Finish): void {
  const group = addGroup(program, 'release', 'build, sign and publish releases');
  addOfflineCommands(group, finish);
  const deltaCommand = addCommand(group, {
    usage: 'delta',
    summary: 'make the recipe by which a device makes one image from another',
    details:
      'Compares the images by content and, where they hold ext4, file by file; applies the result and compares before it is given out. Nothing is signed: a device believes the signed block map alone.',
    examples: ['holdfast release delta --from rootfs-1.img --to rootfs-2.img --out rootfs-1-2.delta'],
  })
    .requiredOption('--from <image>', 'the image that devices have')
    .requiredOption('--to <image>', 'the image that they are to have')
    .requiredOption('--out <file>', 'where the recipe goes')
    .option('--memory <MiB>', 'what the comparison may take', '768');
  onRun<DeltaOptions>(deltaCommand, finish, delta);
  const publishCommand = addCommand(group, {
    usage: 'publish FOLDER',
    summary: 'upload a signed release and publish it; no device takes it before a rollout',
    examples: ['holdfast release publish rel-2'],
  });
  onRun(publishCommand, finish, (out, _options, folder = '') => publish(out, folder));
  addPreflightCommand(group, finish);
  addExportCommand(group, finish);
  const listCommand = addCommand(group, {
    usage: 'list',
    summary: 'list the releases on the server',
    examples: ['holdfast release list'],
  });
  onRun(listCommand, finish, (out) => list(out));
  const showCommand = addCommand(group, {
    usage: 'show RELEASE',
    summary: 'show a release folder here, or a release on the server',
    examples: ['holdfast release show rel-2', 'holdfast release show releases/acme-cam/stable/2/release.suit'],
  });
  onRun(showCommand, finish, (out, _options, path = '') => show(out, path));
}
