/**
 * The layers, as rules: trust ← protocol ← core ← everything that touches the world ← main.
 * scripts/gate/layers.ts runs them, and plants a violation of each in a copy of the tree to prove that they still bite.
 */
const CORE = '^(agent|update-server)/core/';
const ALL_OF_OURS = '^(trust|delta|protocol|platform|agent|update-server|keys|emulator|cli|scripts|test)/';
/** Packages without access to the world. */
const PURE_PACKAGES = 'node_modules/(@noble/(ed25519|hashes)|cborg|valibot)/';

module.exports = {
  forbidden: [
    {
      name: 'trust-imports-no-node',
      comment:
        'trust/ is bytes in, verdict out. Hashing and P-256 come from node:crypto through trust/crypto.ts alone.',
      severity: 'error',
      from: { path: '^trust/', pathNot: '^trust/crypto\\.ts$' },
      to: { dependencyTypes: ['core'] },
    },
    {
      name: 'trust-crypto-imports-only-node-crypto',
      severity: 'error',
      from: { path: '^trust/crypto\\.ts$' },
      to: { dependencyTypes: ['core'], pathNot: '^(node:)?crypto$' },
    },
    {
      name: 'trust-stands-alone',
      comment: 'An auditor reads trust/ without reading anything else.',
      severity: 'error',
      from: { path: '^trust/' },
      to: { path: ALL_OF_OURS, pathNot: '^trust/' },
    },
    {
      name: 'protocol-imports-no-node',
      severity: 'error',
      from: { path: '^protocol/' },
      to: { dependencyTypes: ['core'] },
    },
    {
      name: 'protocol-knows-only-trust',
      severity: 'error',
      from: { path: '^protocol/' },
      to: { path: ALL_OF_OURS, pathNot: '^(protocol|trust)/' },
    },
    {
      name: 'core-imports-no-node',
      comment: 'Time, randomness, disk and network come in through ports: that makes every decision replayable.',
      severity: 'error',
      from: { path: CORE },
      to: { dependencyTypes: ['core'] },
    },
    {
      name: 'core-knows-only-trust-and-protocol',
      severity: 'error',
      from: { path: '^([^/]+)/core/' },
      to: { path: ALL_OF_OURS, pathNot: ['^(trust|protocol)/', '^$1/core/', '^platform/'] },
    },
    {
      name: 'core-takes-only-types-of-platform',
      severity: 'error',
      from: { path: CORE },
      to: { path: '^platform/', dependencyTypesNot: ['type-only'] },
    },
    {
      name: 'pure-layers-use-pure-packages',
      severity: 'error',
      from: { path: ['^trust/', '^protocol/', CORE] },
      to: { path: 'node_modules/', pathNot: PURE_PACKAGES },
    },
    {
      name: 'delta-knows-only-trust',
      comment: 'The agent decodes, the server and the command line encode: what they share imports neither.',
      severity: 'error',
      from: { path: '^delta/' },
      to: { path: ALL_OF_OURS, pathNot: '^(delta|trust)/' },
    },
    {
      name: 'delta-decoding-needs-no-encoder',
      comment: 'The decoder is part of the bundle on the device.',
      severity: 'error',
      from: { path: '^(delta/(decode/|[^/]+$)|agent/)' },
      to: { path: '^delta/encode/' },
    },
    {
      name: 'platform-knows-nothing-of-ours',
      severity: 'error',
      from: { path: '^platform/' },
      to: { path: ALL_OF_OURS, pathNot: '^platform/' },
    },
    {
      name: 'agent-stands-apart',
      severity: 'error',
      from: { path: '^agent/' },
      to: { path: '^(update-server|keys|emulator|cli|scripts|test)/' },
    },
    {
      name: 'update-server-stands-apart',
      comment: 'The server never holds a key that can sign a release. The one exception is the lab.',
      severity: 'error',
      from: { path: '^update-server/' },
      to: { path: '^(agent|keys|emulator|cli|scripts|test)/', pathNot: '^keys/' },
    },
    {
      name: 'only-the-lab-signs-on-the-server',
      severity: 'error',
      from: { path: '^update-server/', pathNot: '^update-server/lab/' },
      to: { path: '^keys/' },
    },
    {
      name: 'keys-stand-apart',
      severity: 'error',
      from: { path: '^keys/' },
      to: { path: '^(agent|update-server|emulator|cli|scripts|test)/' },
    },
    {
      name: 'emulator-knows-only-platform',
      comment: 'It knows what firmware knows: slots, boot flags and which programs to start, which it is told.',
      severity: 'error',
      from: { path: '^emulator/' },
      to: { path: ALL_OF_OURS, pathNot: '^(emulator|platform)/' },
    },
    {
      name: 'cli-and-scripts-start-programs-and-do-not-import-them',
      severity: 'error',
      // A document made from the agent's tables and schemas has to read them; so has the replay of a device's decisions,
      // and a preflight, which asks the server's own functions when a rollout would halt.
      from: {
        path: '^(cli|scripts)/',
        pathNot: [
          '^scripts/(generate-(install|first-boot)-machine|documents/blocks)\\.ts$',
          '^cli/(replay|preflight)/',
        ],
      },
      to: { path: '^(agent|update-server|test)/' },
    },
    {
      name: 'replay-knows-only-the-tables-of-the-agent',
      severity: 'error',
      from: { path: '^cli/replay/' },
      to: { path: '^(agent|update-server|test)/', pathNot: '^agent/core/' },
    },
    {
      name: 'preflight-knows-only-the-decisions-of-the-server',
      severity: 'error',
      from: { path: '^cli/preflight/' },
      to: { path: '^(agent|update-server|test)/', pathNot: '^update-server/core/' },
    },
    {
      name: 'no-cycles',
      severity: 'error',
      from: {},
      to: { circular: true },
    },
    {
      name: 'nothing-unresolvable',
      severity: 'error',
      from: {},
      to: { couldNotResolve: true },
    },
    {
      name: 'shipped-code-uses-no-development-package',
      severity: 'error',
      from: { path: '^(trust|delta|protocol|platform|agent|update-server|keys|emulator|cli)/' },
      to: { dependencyTypes: ['npm-dev', 'npm-no-pkg', 'npm-unknown'], dependencyTypesNot: ['type-only'] },
    },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    enhancedResolveOptions: { exportsFields: ['exports'], conditionNames: ['import', 'node', 'default', 'types'] },
  },
};
