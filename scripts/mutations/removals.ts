/** Every removal, by what it takes away; long lists lie beside this file. */

import { DELTA } from './delta.ts';
import { EMULATED_FLEET } from './emulated-fleet.ts';
import { ESCROW } from './escrow.ts';
import { IDLE } from './idle.ts';
import { IMAGE_LINT } from './image-lint.ts';
import { OWN_IMAGE } from './own-image.ts';
import { PACKAGING } from './packaging.ts';
import { PREFLIGHT } from './preflight.ts';
import { inFile, type Removal } from './removal.ts';
import { SAFETY } from './safety.ts';
import { TRANSPORT } from './transport.ts';

const DURABLE_FILE = inFile(
  'platform/durable-file.ts',
  ['test/sim/durable-file.test.ts'],
  [
    { name: 'the fsync of a fresh file before its rename', find: '    await file.sync();\n', replace: '' },
    {
      name: 'the fsync of the folder after the rename',
      find: '  await disk.rename(fresh, path);\n  await disk.syncDirectory(dirname(path));\n',
      replace: '  await disk.rename(fresh, path);\n',
    },
    // biome-ignore lint/suspicious/noTemplateCurlyInString: it is the text of a template
    { name: 'the rename (written in place)', find: 'const fresh = `${path}.new`;', replace: 'const fresh = path;' },
    {
      name: 'the fsync of the folder after a removal',
      find: '  await disk.remove(path);\n  await disk.syncDirectory(dirname(path));\n',
      replace: '  await disk.remove(path);\n',
    },
    {
      name: 'the fsync of the folder above a new folder',
      find: '    throw fileInTheWay(path, error) ?? error;\n  }\n  await disk.syncDirectory(dirname(path));\n',
      replace: '    throw fileInTheWay(path, error) ?? error;\n  }\n',
    },
  ],
);

const TWO_COPY_RECORD = inFile(
  'platform/two-copy-record.ts',
  ['test/sim/durable-file.test.ts', 'test/unit/platform/two-copy-record.test.ts'],
  [
    { name: 'the fsync of a record copy', find: '    await file.sync();\n', replace: '' },
    {
      name: 'the fsync of the folder of a record',
      find: '  await disk.syncDirectory(dirname(target));\n',
      replace: '',
    },
    {
      name: 'the second copy (the newest one overwritten)',
      find: 'writeTo: newest === 0 && first !== undefined ? 1 : 0,',
      replace: 'writeTo: newest,',
    },
    {
      name: 'the checksum of a record copy',
      find: "if (!createHash('sha256').update(body).digest().equals(digest)) return undefined;",
      replace: '',
    },
  ],
);

const RELEASE_TESTS = ['test/unit/trust/release.test.ts'];

const RELEASE = inFile('trust/release.ts', RELEASE_TESTS, [
  {
    name: 'the digest check of the envelope',
    find: 'if (sha256 === file.hashes.sha256) return accept(bytes);',
    replace: 'return accept(bytes);',
  },
  {
    name: 'the check that an author is known',
    find: 'if (found.length > 0) return accept(found);',
    replace: 'return accept(found.length > 0 ? found : root.holdfast.authors);',
  },
  {
    name: 'the vendor check',
    find: 'if (!equalBytes(manifest.vendorId, vendorIdentifier(device.vendor))) {',
    replace: 'if (false) {',
  },
  {
    name: "the author's scope",
    find: 'if (author === undefined) {\n    const scopes',
    replace:
      'if (author === undefined && authors[0] !== undefined) return accept(authors[0]);\n  if (author === undefined) {\n    const scopes',
  },
  {
    name: 'the hardware class check',
    find: 'if (!equalBytes(manifest.classId, classIdentifier(device.vendor, device.hardwareClass))) {',
    replace: 'if (false) {',
  },
  { name: 'the channel check', find: 'if (manifest.channel !== device.channel) {', replace: 'if (false) {' },
  {
    name: 'the comparison of TUF and SUIT facts',
    find: 'if (inTargets !== inSuit) return',
    replace: 'if (false) return',
  },
  {
    name: 'the comparison of image digests in TUF and SUIT',
    find: 'if (inSuit.sha256 !== sha256) return',
    replace: 'if (false) return',
  },
  {
    name: 'the comparison of image sizes in TUF and SUIT',
    find: 'if (inSuit.sizeBytes !== sizeBytes)\n    return',
    replace: 'if (false)\n    return',
  },
]);

const COUNTER = inFile(
  'trust/counter.ts',
  ['test/unit/trust/counter.test.ts', ...RELEASE_TESTS],
  [
    { name: 'the sequence check', find: 'if (sequence <= counters.installedSequence) {', replace: 'if (false) {' },
    { name: 'the floor check', find: 'if (sequence < counters.floorSequence) {', replace: 'if (false) {' },
  ],
);

const SIGNATURES = [
  ...inFile(
    'trust/cose.ts',
    ['test/unit/trust/cose.test.ts', ...RELEASE_TESTS],
    [
      {
        name: 'the signature check of the envelope',
        find: 'if (verify(key.publicKey, message, sign1.signature)) return accept(sign1);',
        replace: 'return accept(sign1);',
      },
      {
        name: 'the pinning of a key to one algorithm',
        find: 'if (sign1.algorithm !== pinned && !polymorphic) {',
        replace: 'if (false) {',
      },
    ],
  ),
  ...inFile(
    'trust/suit/envelope.ts',
    ['test/unit/trust/suit/envelope.test.ts', ...RELEASE_TESTS],
    [
      {
        name: 'the digest check of the manifest',
        find: 'if (equalBytes(digestOf(envelope.manifest), envelope.manifestSha256)) return accept(envelope.manifest);',
        replace: 'return accept(envelope.manifest);',
      },
    ],
  ),
  ...inFile(
    'trust/signature.ts',
    ['test/unit/trust/signature.test.ts', 'test/conformance'],
    [
      {
        name: 'strict Ed25519 (small-order keys accepted)',
        find: '{ zip215: false }',
        replace: '{ zip215: true }',
      },
    ],
  ),
  ...inFile(
    'trust/tuf/threshold.ts',
    ['test/unit/trust/tuf'],
    [
      {
        name: 'the signature check of metadata',
        find: 'if (!verifies) invalid.push(keyid);',
        replace: 'if (false) invalid.push(keyid);',
      },
      { name: 'the threshold', find: 'if (tally.valid.length < tally.threshold) {', replace: 'if (false) {' },
      {
        name: 'counting a key once',
        find: 'else if (!valid.has(key.keyval.public)) valid.set(key.keyval.public, keyid);',
        replace: 'else valid.set(keyid, keyid);',
      },
    ],
  ),
];

const METADATA = [
  ...inFile(
    'trust/tuf/client.ts',
    ['test/unit/trust/tuf/client.test.ts'],
    [
      {
        name: 'the expiry check',
        find: 'if (expiresUnixS !== undefined && !hasExpired(expiresUnixS, this.#now)) return',
        replace: 'if (true) return',
      },
      { name: 'the limit of the root chain', find: 'if (steps === MAX_ROOT_STEPS) {', replace: 'if (false) {' },
    ],
  ),
  ...inFile(
    'trust/tuf/checks.ts',
    ['test/unit/trust/tuf/checks.test.ts'],
    [
      {
        name: 'the rollback check of the timestamp',
        find: 'if (fresh.version < trusted.version) {',
        replace: 'if (false) {',
      },
      {
        name: 'the rollback check of the snapshot that a timestamp names',
        find: 'if (named >= before) return undefined;',
        replace: 'return undefined;',
      },
      {
        name: 'the rollback check of what a snapshot names',
        find: 'if (now.version < before.version) {',
        replace: 'if (false) {',
      },
      {
        name: 'the version check against the metadata above',
        find: 'if (fresh.version === due.version) return',
        replace: 'if (true) return',
      },
      { name: 'the digest check of metadata', find: 'if (actual !== digest) return', replace: 'if (false) return' },
    ],
  ),
];

const IMAGES = [
  ...inFile(
    'trust/blocks.ts',
    ['test/unit/trust/blocks.test.ts'],
    [
      {
        name: 'the digest check of a block',
        find: 'if (equalBytes(digest, signed)) return accept(markVerified(bytes));',
        replace: 'return accept(markVerified(bytes));',
      },
      {
        name: 'the size check of a block',
        find: "if (bytes.length !== due) {\n    return refuse('image-size",
        replace: "if (false) {\n    return refuse('image-size",
      },
    ],
  ),
  ...inFile(
    'agent/slot-reader.ts',
    ['test/unit/agent/update-engine.test.ts'],
    [
      {
        name: 'the digest check of the whole image, read back',
        find: "if (found === image.sha256) return 'equal';",
        replace: "return 'equal';",
      },
    ],
  ),
  ...inFile(
    'agent/slot-writer.ts',
    ['test/sim/crash-everywhere.test.ts'],
    [
      {
        name: 'the fsync of an image before it counts as written',
        find: 'await file.sync();\n    await onSynced(map.count);',
        replace: 'await onSynced(map.count);',
      },
    ],
  ),
  ...inFile(
    'agent/slot-writer.ts',
    ['test/sim/crash-everywhere.test.ts'],
    [
      {
        name: 'writing over a block of the slot that cannot be read',
        find: "if (systemErrorCode(error) === 'EIO') return 0;",
        replace: '',
      },
    ],
  ),
  ...inFile(
    'agent/effects/trial.ts',
    ['test/sim/crash-everywhere.test.ts'],
    [
      {
        name: 'the order: confirm, then raise the counters',
        find: '  await x.ports.board.confirmSlot(x.booted.slot);\n',
        replace: '  await raiseCounters(x);\n  await x.ports.board.confirmSlot(x.booted.slot);\n',
      },
    ],
  ),
  ...inFile(
    'agent/storage/state-record.ts',
    ['test/unit/agent/storage/state-record.test.ts'],
    [
      {
        name: 'writing both copies of what must not fall back',
        find: 'if (this.#twice || current === undefined)',
        replace: 'if (current === undefined)',
      },
    ],
  ),
  ...inFile(
    'agent/storage/metadata-store.ts',
    ['test/unit/agent/storage/metadata-store.test.ts'],
    [
      {
        name: 'taking a metadata file with a bad block for none',
        find: "if (error instanceof FileTooLarge || systemErrorCode(error) === 'EIO') return 'unusable';",
        replace: "if (error instanceof FileTooLarge) return 'unusable';",
      },
    ],
  ),
  ...inFile(
    'agent/reports/durable-reporter.ts',
    ['test/unit/agent/reports/durable-reporter.test.ts'],
    [
      {
        name: 'setting aside a report queue with a bad block',
        find: "if (error instanceof FileTooLarge || systemErrorCode(error) === 'EIO') return new Uint8Array();",
        replace: 'if (error instanceof FileTooLarge) return new Uint8Array();',
      },
    ],
  ),
  ...inFile(
    'agent/block-memory.ts',
    ['test/unit/agent/interrupted-update.test.ts'],
    [
      {
        name: 'what arrived of a block that was cut',
        find: 'const fromByte = this.partOf(path) === index ? (this.#part?.receivedBytes ?? 0) : 0;',
        replace: 'const fromByte = 0;',
      },
    ],
  ),
];

const SLOTS = [
  ...inFile(
    'agent/core/install-machine.ts',
    ['test/sim/crash-everywhere.test.ts'],
    [
      {
        name: 'taking a slot out of the boot order before its first byte',
        find: "obtained: to('downloading', 'retire-slot', 'fill-slot'),",
        replace: "obtained: to('downloading', 'fill-slot'),",
      },
      {
        name: 'taking a slot below the floor out of the order before the floor rises',
        find: "'slot-confirmed': to('sealing', 'report-confirmed', 'retire-below-floor', 'raise-counters'),",
        replace: "'slot-confirmed': to('sealing', 'report-confirmed', 'raise-counters', 'retire-below-floor'),",
      },
    ],
  ),
  ...inFile(
    'agent/storage/slot-image.ts',
    ['test/unit/agent/storage/slot-image.test.ts'],
    [
      {
        name: 'the guard of the slot that runs',
        find: 'if (slot === booted || path === ports.board.imagePath(booted, component)) {',
        replace: 'if (false) {',
      },
    ],
  ),
];

const WIRE = [
  ...inFile(
    'agent/transport/capped-body.ts',
    ['test/unit/agent/transport/https-source.test.ts'],
    [
      {
        name: 'the cap on what a server sends',
        find: 'if (this.bytes + chunk.length > this.#capBytes) return false;',
        replace: '',
      },
    ],
  ),
  ...inFile(
    'agent/transport/server-certificate.ts',
    ['test/unit/agent/transport/server-certificate.test.ts'],
    [
      {
        name: "the signatures of the server's certificate path",
        find: 'if (path === undefined) {',
        replace: 'if (false) {',
      },
      { name: "the server's name", find: 'if (!namesHost(presented.leaf, rule.host)) {', replace: 'if (false) {' },
      {
        name: 'the demand that an issuer be an authority',
        find: 'if (!extensions.isAuthority || !issuer.ca || extensions.notUnderstood.length > 0) return false;',
        replace: '',
      },
    ],
  ),
  ...inFile(
    'update-server/mqtt/rules.ts',
    ['test/unit/update-server/mqtt'],
    [
      {
        name: 'the ownership of topics',
        find: "return permitted.includes(topic) ? undefined : 'mqtt-topic-not-own';",
        replace: 'return undefined;',
      },
      { name: 'the refusal of wildcards', find: "if (/[+#]/.test(topic)) return 'mqtt-wildcard';", replace: '' },
      {
        name: 'the refusal of retained messages',
        find: "if (message.retain) return 'mqtt-retain-refused';",
        replace: '',
      },
    ],
  ),
];

const BOARDS = [
  ...inFile(
    'agent/boards/u-boot.ts',
    ['test/unit/agent/boards/u-boot.test.ts'],
    [
      {
        name: 'the proof by canary before a slot is retired',
        find: '        await this.#proveShared();\n        await this.#markGood(',
        replace: '        await this.#markGood(',
      },
      {
        name: 'the proof by canary before a trial is armed',
        find: '      () => this.#proveShared(),\n',
        replace: '      async () => {},\n',
      },
      {
        name: 'the slot marked good before the other is retired',
        find: '        await this.#markGood(order[0] ?? booted);\n',
        replace: '        void order;\n',
      },
      {
        name: 'the slot marked good after it was confirmed',
        find: '    await this.#markGood(slot);\n',
        replace: '',
      },
      {
        name: "the demand for a bootcmd in U-Boot's defaults",
        find: 'if (!(bytes instanceof Uint8Array) || !/^bootcmd=/m.test(new TextDecoder().decode(bytes))) {',
        replace: 'if (!(bytes instanceof Uint8Array)) {',
      },
      {
        name: 'the one call for all variables of a change',
        find: '    await this.#write(wanted);\n',
        replace: '    for (const [name, value] of wanted) await this.#write(new Map([[name, value]]));\n',
      },
    ],
  ),
  ...inFile(
    'agent/boards/tryboot.ts',
    ['test/unit/agent/boards/tryboot.test.ts', 'test/unit/agent/boards/tryboot-update.test.ts'],
    [
      {
        name: 'the note that the one attempt is used up',
        find: '    await this.#change((standing) => ({ ...standing, attemptsLeft: 0 }));\n',
        replace: '',
      },
      {
        name: 'the way out of [tryboot] for a slot that is retired',
        find: 'tryboot: tryboot === slot ? stays : tryboot',
        replace: 'tryboot',
      },
      {
        name: 'the constant size of autoboot.txt',
        find: '  const text = new Uint8Array(AUTOBOOT_BYTES).fill(10);',
        replace: '  const text = new Uint8Array(bytes.length).fill(10);',
      },
    ],
  ),
  ...inFile(
    'agent/boards/exec.ts',
    ['test/unit/agent/boards/exec.test.ts'],
    [
      {
        name: 'the refusal to retire the booted slot, before the executable is asked',
        find: '    refuseBooted(slot, (await this.bootFacts()).slot);\n',
        replace: '',
      },
      {
        name: 'the look at the flags after the executable said that it was done',
        find: 'if (!stands(await this.bootFlags()))',
        replace: 'if (stands(await this.bootFlags()) === undefined)',
      },
    ],
  ),
  ...inFile(
    'agent/boards/board-program.ts',
    ['test/unit/agent/boards/exec.test.ts'],
    [
      {
        name: 'the deadline of a program',
        find: 'const timer = setTimeout(() => end(',
        replace: 'const timer = setTimeout(() => void (',
      },
      {
        name: "the end of a program's children",
        find: 'if (pid !== undefined) process.kill(-pid, ',
        replace: 'if (pid !== undefined) process.kill(pid, ',
      },
    ],
  ),
  ...inFile(
    'agent/doctor/self-test.ts',
    ['test/unit/agent/doctor/doctor.test.ts'],
    [
      {
        name: 'the refusal of a self-test while an update is under way',
        find: '  await refuseWhenBusy(config, board, disk);\n',
        replace: '',
      },
    ],
  ),
];

const LOCAL = [
  ...inFile(
    'agent/update-engine.ts',
    ['test/unit/agent/local-update.test.ts'],
    [
      {
        name: 'the rule that no server calls off what a person brought',
        find: '    if (isLocal(journal.action) && !isLocal(offer)) return undefined;\n',
        replace: '',
      },
    ],
  ),
  ...inFile(
    'agent/effects/install.ts',
    ['test/unit/agent/local-update.test.ts'],
    [
      {
        name: 'the end of an installation whose stick is gone',
        find: 'if (isLocal(action) && x.settings.offline !== true) {',
        replace: 'if (isLocal(action) && x.settings.offline === undefined) {',
      },
    ],
  ),
];

export const REMOVALS: readonly Removal[] = [
  ...TRANSPORT,
  ...LOCAL,
  ...BOARDS,
  ...SAFETY,
  ...ESCROW,
  ...PACKAGING,
  ...PREFLIGHT,
  ...OWN_IMAGE,
  ...IMAGE_LINT,
  ...SIGNATURES,
  ...COUNTER,
  ...RELEASE,
  ...METADATA,
  ...IMAGES,
  ...SLOTS,
  ...WIRE,
  ...DELTA,
  ...EMULATED_FLEET,
  ...IDLE,
  ...DURABLE_FILE,
  ...TWO_COPY_RECORD,
];
