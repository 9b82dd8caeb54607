/**
 * The operator API, typed: each method is one request of protocol/operator-api.ts, its answer decoded strictly and
 * capped. Errors of the server arrive as Faults with the server's own code, words and cure.
 */
import { createReadStream } from 'node:fs';
import { Agent } from 'node:https';
import { Transform } from 'node:stream';
import * as v from 'valibot';
import { EXIT, type ExitStatus, Fault } from '../platform/fault.ts';
import { ErrorAnswer } from '../protocol/device-api.ts';
import {
  type ApproveRequest,
  ArtifactAnswer,
  AuditAnswer,
  ClaimsAnswer,
  type ClaimsRequest,
  CredentialsAnswer,
  DeviceDetail,
  DevicesAnswer,
  Done,
  EscrowBlobAnswer,
  EscrowOutstandingAnswer,
  EscrowReleasesAnswer,
  EscrowReleaseView,
  LabPushAnswer,
  type LabPushRequest,
  LoginAnswer,
  OPERATOR_PATHS,
  PublishAnswer,
  type PublishRequest,
  ReleasesAnswer,
  type RolloutRequest,
  RolloutsAnswer,
  type RolloutVerb,
  RolloutView,
  RotationDetail,
  type RotationRequest,
  RotationsAnswer,
  type TokenRequest,
  TokensAnswer,
  Whoami,
} from '../protocol/operator-api.ts';
import { type HttpsAnswer, type HttpsRequest, httpsRequest } from './https-request.ts';

const ANSWER_CAP_BYTES = 64 * 1024 * 1024;
const ERROR_CAP_BYTES = 64 * 1024;

export interface ServerAccess {
  readonly serverUrl: string;
  /** PEM. */
  readonly ca: string;
  readonly token: string;
}

function exitStatusOf(status: number): ExitStatus {
  if (status >= 500) return EXIT.remote;
  return status === 400 || status === 404 || status === 413 ? EXIT.input : EXIT.refused;
}

function faultOfAnswer(answer: HttpsAnswer, url: URL): Fault {
  let parsed: ErrorAnswer | undefined;
  try {
    parsed = v.parse(ErrorAnswer, JSON.parse(Buffer.from(answer.body.subarray(0, ERROR_CAP_BYTES)).toString('utf8')));
  } catch {
    // Not the server's own words: a proxy, or another program.
  }
  const facts = parsed ?? {
    code: 'answer-malformed',
    what: `the server answered with status ${answer.status} and nothing that Holdfast understands`,
    cure: 'Check the address: is this the operator listener of a Holdfast server?',
  };
  return new Fault({
    code: facts.code,
    what: facts.what,
    where: 'where' in facts && facts.where !== undefined ? facts.where : url.href,
    cure: facts.cure,
    exitStatus: parsed === undefined ? EXIT.remote : exitStatusOf(answer.status),
  });
}

type Query = Readonly<Record<string, string | number>>;

export class ApiClient {
  readonly #access: ServerAccess;
  readonly #agent: Agent;

  constructor(access: ServerAccess) {
    this.#access = access;
    this.#agent = new Agent({ ca: access.ca, keepAlive: true, maxSockets: 4, minVersion: 'TLSv1.3' });
  }

  close(): void {
    this.#agent.destroy();
  }

  #url(path: string, query: Query = {}): URL {
    const url = new URL(path, this.#access.serverUrl);
    for (const [name, value] of Object.entries(query)) url.searchParams.set(name, String(value));
    return url;
  }

  #send(
    url: URL,
    method: HttpsRequest['method'],
    body?: HttpsRequest['body'],
    headers: Readonly<Record<string, string>> = {},
  ): Promise<HttpsAnswer> {
    return httpsRequest({
      agent: this.#agent,
      url,
      method,
      headers: { authorization: `Bearer ${this.#access.token}`, accept: 'application/json', ...headers },
      answerCapBytes: ANSWER_CAP_BYTES,
      ...(body === undefined ? {} : { body }),
    });
  }

  async #json<S extends v.GenericSchema>(
    schema: S,
    method: 'GET' | 'POST' | 'DELETE',
    path: string,
    options: { readonly body?: unknown; readonly query?: Query } = {},
  ): Promise<v.InferOutput<S>> {
    const url = this.#url(path, options.query);
    const body = options.body === undefined ? undefined : Buffer.from(JSON.stringify(options.body), 'utf8');
    const headers =
      body === undefined ? {} : { 'content-type': 'application/json', 'content-length': String(body.length) };
    const answer = await this.#send(url, method, body, headers);
    if (answer.status >= 400) throw faultOfAnswer(answer, url);
    return decodeAnswer(schema, answer, url);
  }

  whoami = () => this.#json(Whoami, 'GET', OPERATOR_PATHS.whoami);
  login = (name: string) => this.#json(LoginAnswer, 'POST', OPERATOR_PATHS.login, { body: { name } });

  tokens = () => this.#json(TokensAnswer, 'GET', OPERATOR_PATHS.tokens);
  createToken = (body: TokenRequest) => this.#json(LoginAnswer, 'POST', OPERATOR_PATHS.tokens, { body });
  revokeToken = (tokenId: string) => this.#json(Done, 'DELETE', below(OPERATOR_PATHS.tokens, tokenId));

  devices = () => this.#json(DevicesAnswer, 'GET', OPERATOR_PATHS.devices);
  credentials = (after?: string) =>
    this.#json(CredentialsAnswer, 'GET', OPERATOR_PATHS.credentials, after === undefined ? {} : { query: { after } });
  device = (deviceId: string) => this.#json(DeviceDetail, 'GET', below(OPERATOR_PATHS.devices, deviceId));
  approveDevice = (deviceId: string, body: ApproveRequest) =>
    this.#json(DeviceDetail, 'POST', `${below(OPERATOR_PATHS.devices, deviceId)}/approve`, { body });
  revokeDevice = (deviceId: string, why: string) =>
    this.#json(DeviceDetail, 'POST', `${below(OPERATOR_PATHS.devices, deviceId)}/revoke`, { body: { why } });
  createClaims = (body: ClaimsRequest) => this.#json(ClaimsAnswer, 'POST', OPERATOR_PATHS.claims, { body });

  releases = () => this.#json(ReleasesAnswer, 'GET', OPERATOR_PATHS.releases);
  publish = (body: PublishRequest) => this.#json(PublishAnswer, 'POST', OPERATOR_PATHS.publish, { body });

  rollouts = () => this.#json(RolloutsAnswer, 'GET', OPERATOR_PATHS.rollouts);
  rollout = (rolloutId: string) => this.#json(RolloutView, 'GET', below(OPERATOR_PATHS.rollouts, rolloutId));
  startRollout = (body: RolloutRequest) => this.#json(RolloutView, 'POST', OPERATOR_PATHS.rollouts, { body });
  changeRollout = (rolloutId: string, verb: RolloutVerb) =>
    this.#json(RolloutView, 'POST', `${below(OPERATOR_PATHS.rollouts, rolloutId)}/${verb}`, { body: {} });

  rotations = () => this.#json(RotationsAnswer, 'GET', OPERATOR_PATHS.rotations);
  rotation = (rotationId: string) => this.#json(RotationDetail, 'GET', below(OPERATOR_PATHS.rotations, rotationId));
  startRotation = (body: RotationRequest) => this.#json(RotationDetail, 'POST', OPERATOR_PATHS.rotations, { body });
  changeRotation = (rotationId: string, verb: RolloutVerb) =>
    this.#json(RotationDetail, 'POST', `${below(OPERATOR_PATHS.rotations, rotationId)}/${verb}`, { body: {} });

  requestEscrow = (deviceId: string, reason: string) =>
    this.#json(EscrowReleaseView, 'POST', `${below(OPERATOR_PATHS.devices, deviceId)}/escrow/requests`, {
      body: { reason },
    });
  escrowRequests = () => this.#json(EscrowReleasesAnswer, 'GET', `${OPERATOR_PATHS.escrow}/requests`);
  approveEscrow = (requestId: string) =>
    this.#json(EscrowReleaseView, 'POST', `${OPERATOR_PATHS.escrow}${below('/requests', requestId)}/approve`, {
      body: {},
    });
  fetchEscrow = (requestId: string) =>
    this.#json(EscrowBlobAnswer, 'POST', `${OPERATOR_PATHS.escrow}${below('/requests', requestId)}/fetch`, {
      body: {},
    });
  escrowOutstanding = (owner: string) =>
    this.#json(EscrowOutstandingAnswer, 'GET', `${OPERATOR_PATHS.escrow}/outstanding`, { query: { owner } });

  audit = (query: { limit: number; before?: number }) =>
    this.#json(AuditAnswer, 'GET', OPERATOR_PATHS.audit, { query });
  labPush = (body: LabPushRequest) => this.#json(LabPushAnswer, 'POST', OPERATOR_PATHS.labPush, { body });

  /** A metadata file by name; undefined when the server has none of that name. */
  async metadata(name: string): Promise<Uint8Array | undefined> {
    const url = this.#url(`${OPERATOR_PATHS.metadata}/${encodeURIComponent(name)}`);
    const answer = await this.#send(url, 'GET');
    if (answer.status === 404) return undefined;
    if (answer.status >= 400) throw faultOfAnswer(answer, url);
    return answer.body;
  }

  /** True when the server has an artifact of this digest and size already. */
  async hasArtifact(sha256: string, sizeBytes: number): Promise<boolean> {
    const url = this.#url(`${OPERATOR_PATHS.artifacts}/${sha256}`);
    const answer = await this.#send(url, 'HEAD');
    if (answer.status === 200) return answer.headers['content-length'] === String(sizeBytes);
    if (answer.status === 404) return false;
    // An answer to HEAD has no body to explain itself.
    throw faultOfAnswer(answer, url);
  }

  /** Bytes `first` to `last` of an artifact, both inclusive; at most ARTIFACT_PIECE_CAP_BYTES of them. */
  async artifactPiece(sha256: string, first: number, last: number): Promise<Uint8Array> {
    const url = this.#url(`${OPERATOR_PATHS.artifacts}/${sha256}`);
    const answer = await this.#send(url, 'GET', undefined, { range: `bytes=${first}-${last}` });
    if (answer.status >= 400) throw faultOfAnswer(answer, url);
    return answer.body;
  }

  /** Uploads a file in one stream; the server refuses what does not have this digest. */
  async putArtifact(
    artifact: { readonly path: string; readonly sizeBytes: number; readonly sha256: string },
    onProgress: (doneBytes: number) => void = () => undefined,
  ): Promise<void> {
    let doneBytes = 0;
    const counted = new Transform({
      transform(piece: Buffer, _encoding, done) {
        doneBytes += piece.length;
        onProgress(doneBytes);
        done(null, piece);
      },
    });
    const url = this.#url(`${OPERATOR_PATHS.artifacts}/${artifact.sha256}`);
    const file = createReadStream(artifact.path, { highWaterMark: 1024 * 1024 });
    file.once('error', (error) => counted.destroy(error));
    const headers = { 'content-type': 'application/octet-stream', 'content-length': String(artifact.sizeBytes) };
    const answer = await this.#send(url, 'PUT', file.pipe(counted), headers);
    if (answer.status >= 400) throw faultOfAnswer(answer, url);
    decodeAnswer(ArtifactAnswer, answer, url);
  }
}

function below(path: string, id: string): string {
  return `${path}/${encodeURIComponent(id)}`;
}

function decodeAnswer<S extends v.GenericSchema>(schema: S, answer: HttpsAnswer, url: URL): v.InferOutput<S> {
  let detail = 'it is not JSON';
  try {
    const parsed = v.safeParse(schema, JSON.parse(Buffer.from(answer.body).toString('utf8')));
    if (parsed.success) return parsed.output;
    detail = `${v.getDotPath(parsed.issues[0]) ?? 'answer'}: ${parsed.issues[0].message}`;
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
  }
  throw new Fault({
    code: 'answer-malformed',
    what: `the server's answer is not what the protocol allows (${detail})`,
    where: url.href,
    cure: 'Check that server and command line are of the same version.',
    exitStatus: EXIT.remote,
  });
}
