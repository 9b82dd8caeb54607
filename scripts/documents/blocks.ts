/**
 * The generated parts of documents. A document carries `<!-- begin NAME (generated) -->` … `<!-- end NAME -->`; what
 * stands between comes from the code, and a test fails when the two differ.
 */
import type { GenericSchema } from 'valibot';
import { ConfigFile } from '../../agent/config.ts';
import { FirstBootConfig } from '../../agent/first-boot/first-boot-config.ts';
import { PROVISIONS } from '../../cli/evidence/provisions.ts';
import { FINDINGS } from '../../cli/image-lint/findings.ts';
import * as credentials from '../../protocol/credentials.ts';
import * as credentialsApi from '../../protocol/credentials-api.ts';
import * as device from '../../protocol/device-api.ts';
import * as enrolment from '../../protocol/enrolment.ts';
import * as transport from '../../protocol/image-transport.ts';
import * as topics from '../../protocol/mqtt-topics.ts';
import { FLAGS, REASONS } from '../../protocol/reasons.ts';
import { serverOptions } from '../../update-server/config.ts';
import { fieldTable, kindTable, table } from './schema-table.ts';

export interface GeneratedBlock {
  /** Path from the project's root. */
  readonly document: string;
  readonly name: string;
  readonly render: () => string;
}

const DEVICE_PROTOCOL = 'docs/DEVICE_PROTOCOL.md';

const PATH_USES: Readonly<Record<keyof typeof device.DEVICE_PATHS, readonly [use: string, answer: string]>> = {
  health: ['GET, without a certificate', 'that the server lives'],
  enrolNonce: ['POST NonceRequest, without a certificate', 'NonceAnswer'],
  enrol: ['POST EnrolRequest, without a certificate', 'EnrolAnswer'],
  poll: ['POST PollRequest', 'PollAnswer'],
  report: ['POST ReportRequest', 'ReportAnswer'],
  metadata: ['GET + `/` + file name', 'signed metadata, exactly the bytes that were signed'],
  targets: ['GET + `/` + consistent target path, Range honoured', 'an envelope, block map or image'],
  transport: ['GET or POST + `/` + image digest + one of the endings below', 'the image in another form, untrusted'],
  credentialsNonce: ['POST CredentialsNonceRequest', 'NonceAnswer'],
  credentialsStatement: ['POST StatementRequest', 'StatementAnswer'],
  credentialsEscrow: ['POST EscrowRequest', 'EscrowAnswer'],
  credentialsRenew: ['POST RenewRequest', 'RenewAnswer'],
};

function pathTable(): string {
  const rows = Object.entries(device.DEVICE_PATHS).map(([name, path]) => {
    const [use, answer] = PATH_USES[name as keyof typeof PATH_USES];
    return [`\`${path}\``, use, answer];
  });
  return table(['path', 'request', 'answer'], rows);
}

function topicTable(): string {
  return table(
    ['topic', 'publishes', 'subscribes', 'QoS', 'payload'],
    [
      [`\`${topics.hintTopic('ID')}\``, 'server', 'that device', '1', 'empty: poll now'],
      [`\`${topics.statusTopic('ID')}\``, 'that device', 'server', '0', 'StatusMessage in CBOR'],
      [
        `\`${topics.presenceTopic('ID')}\``,
        'that device',
        'server',
        '1',
        `\`${topics.PRESENCE.here}\`, or \`${topics.PRESENCE.gone}\` as last will`,
      ],
    ],
  );
}

function boundTable(): string {
  return table(
    ['what', 'value'],
    [
      ['protocol version spoken', String(device.PROTOCOL_VERSION)],
      ['oldest version answered', String(device.OLDEST_PROTOCOL_VERSION)],
      ['largest JSON body', `${device.DEVICE_BODY_CAP_BYTES} bytes`],
      ['reports in one request', String(device.REPORTS_PER_REQUEST)],
      ['largest MQTT payload', `${topics.MQTT_PAYLOAD_CAP_BYTES} bytes`],
      ['claim secret', `${enrolment.CLAIM_SECRET_BYTES} bytes`],
      ['enrolment nonce', `${enrolment.NONCE_BYTES} bytes`],
      ['TLS exporter', `${enrolment.EXPORTER_BYTES} bytes, label \`${enrolment.EXPORTER_LABEL}\`, no context`],
    ],
  );
}

function transportBoundTable(): string {
  return table(
    ['what', 'value'],
    [
      ['pieces in one request', `${transport.PIECES_PER_REQUEST} (${transport.PIECES_PLAIN_CAP_BYTES} bytes)`],
      ['largest list of runs', `${transport.PIECES_BODY_CAP_BYTES} bytes`],
    ],
  );
}

function serverOptionTable(): string {
  return table(
    ['option', 'meaning', 'default'],
    serverOptions().map(({ flags, description, standard }) => [`\`${flags}\``, description, standard]),
  );
}

function reasonTable(): string {
  return table(
    ['reason', 'meaning', 'next', 'cure'],
    Object.entries(REASONS).map(([code, { meaning, next, cure }]) => [`\`${code}\``, meaning, next, cure]),
  );
}

function flagTable(): string {
  const rows = Object.entries(FLAGS).map(([code, { meaning, cure }]) => [`\`${code}\``, meaning, cure]);
  return table(['flag', 'meaning', 'cure'], rows);
}

function evidenceTable(): string {
  return table(
    ['standard', 'clause', 'about', 'what is looked at'],
    PROVISIONS.map(({ standard, clause, about, evidence }) => [standard, clause, about, evidence]),
  );
}

function findingTable(): string {
  return table(
    ['code', 'severity', 'meaning', 'fix'],
    Object.entries(FINDINGS).map(([code, { severity, meaning, cure }]) => [`\`${code}\``, severity, meaning, cure]),
  );
}

const BODIES: readonly (readonly [name: string, schema: GenericSchema])[] = [
  ['NonceRequest', device.NonceRequest],
  ['NonceAnswer', device.NonceAnswer],
  ['EnrolRequest', device.EnrolRequest],
  ['EnrolAnswer', device.EnrolAnswer],
  ['PollRequest', device.PollRequest],
  ['PollAnswer', device.PollAnswer],
  ['ReportRequest', device.ReportRequest],
  ['ReportAnswer', device.ReportAnswer],
  ['ErrorAnswer', device.ErrorAnswer],
  ['StatementRequest', credentialsApi.StatementRequest],
  ['RotationStatement', credentials.RotationStatement],
  ['StatementAnswer', credentialsApi.StatementAnswer],
  ['EscrowRequest', credentialsApi.EscrowRequest],
  ['EscrowAnswer', credentialsApi.EscrowAnswer],
  ['RenewRequest', credentialsApi.RenewRequest],
  ['RenewAnswer', credentialsApi.RenewAnswer],
  ['ClaimFile', enrolment.ClaimFile],
  ['StatusMessage', topics.StatusMessage],
];

export const GENERATED_BLOCKS: readonly GeneratedBlock[] = [
  { document: DEVICE_PROTOCOL, name: 'paths', render: pathTable },
  { document: DEVICE_PROTOCOL, name: 'bounds', render: boundTable },
  ...BODIES.map(([name, schema]) => ({ document: DEVICE_PROTOCOL, name, render: () => fieldTable(schema) })),
  { document: DEVICE_PROTOCOL, name: 'ReportEvent', render: () => kindTable(device.ReportEvent) },
  { document: DEVICE_PROTOCOL, name: 'transport bounds', render: transportBoundTable },
  { document: DEVICE_PROTOCOL, name: 'topics', render: topicTable },
  { document: DEVICE_PROTOCOL, name: 'reasons', render: reasonTable },
  { document: DEVICE_PROTOCOL, name: 'flags', render: flagTable },
  { document: 'docs/AGENT_CONFIG.md', name: 'agent.json', render: () => fieldTable(ConfigFile) },
  { document: 'docs/AGENT_CONFIG.md', name: 'firstBoot', render: () => fieldTable(FirstBootConfig) },
  { document: 'docs/EVIDENCE.md', name: 'evidence', render: evidenceTable },
  { document: 'docs/IMAGE_LINT.md', name: 'findings', render: findingTable },
  { document: 'docs/SERVER_OPTIONS.md', name: 'options', render: serverOptionTable },
];

const begin = (name: string): string => `<!-- begin ${name} (generated) -->`;
const end = (name: string): string => `<!-- end ${name} -->`;

/** The text with this document's blocks filled in. Throws when a block has no place in it. */
export function fillBlocks(document: string, text: string): string {
  let filled = text;
  for (const block of GENERATED_BLOCKS.filter((each) => each.document === document)) {
    const from = filled.indexOf(begin(block.name));
    const to = filled.indexOf(end(block.name));
    if (from === -1 || to < from) throw new Error(`${document} has no place for the block "${block.name}"`);
    filled = `${filled.slice(0, from)}${begin(block.name)}\n${block.render()}\n${filled.slice(to)}`;
  }
  return filled;
}
