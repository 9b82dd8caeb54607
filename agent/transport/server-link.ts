/**
 * Polls and reports, as protocol/device-api.ts has them. What the server says is decoded strictly and never trusted:
 * an action names a release, and the release proves itself.
 */
import * as v from 'valibot';
import type { EscrowNote } from '../../protocol/credentials.ts';
import { EscrowAnswer, RenewAnswer, StatementAnswer } from '../../protocol/credentials-api.ts';
import {
  DEVICE_BODY_CAP_BYTES,
  DEVICE_PATHS,
  ErrorAnswer,
  NonceAnswer,
  PollAnswer,
  type PollRequest,
  PROTOCOL_VERSION,
  type Report,
  ReportAnswer,
} from '../../protocol/device-api.ts';
import { base64url } from '../../trust/bytes.ts';
import { accept, refuse, type Verdict } from '../../trust/refusal.ts';
import { SourceUnreachable } from '../core/ports.ts';
import type { HttpAnswer, Requester } from './https-channel.ts';

/** The server answered, and said no: revoked, unknown, malformed. Its words are for a person. */
export class ServerSaidNo extends Error {
  override readonly name = 'ServerSaidNo';
  readonly status: number;
  readonly code: string;
  readonly cure: string;

  constructor(status: number, said: { readonly code: string; readonly what: string; readonly cure: string }) {
    super(said.what);
    this.status = status;
    this.code = said.code;
    this.cure = said.cure;
  }
}

export class ServerLink {
  readonly #server: Requester;

  constructor(server: Requester) {
    this.#server = server;
  }

  /** Throws SourceUnreachable (try later) or ServerSaidNo. */
  poll(request: Omit<PollRequest, 'protocol'>): Promise<Verdict<PollAnswer>> {
    return this.#exchange(DEVICE_PATHS.poll, { protocol: PROTOCOL_VERSION, ...request }, PollAnswer);
  }

  report(reports: readonly Report[]): Promise<Verdict<ReportAnswer>> {
    return this.#exchange(DEVICE_PATHS.report, { protocol: PROTOCOL_VERSION, reports }, ReportAnswer);
  }

  nonce(): Promise<Verdict<NonceAnswer>> {
    return this.#exchange(DEVICE_PATHS.credentialsNonce, { protocol: PROTOCOL_VERSION }, NonceAnswer);
  }

  statement(statement: Uint8Array, signature: Uint8Array): Promise<Verdict<StatementAnswer>> {
    const message = { protocol: PROTOCOL_VERSION, statement: base64url(statement), signature: base64url(signature) };
    return this.#exchange(DEVICE_PATHS.credentialsStatement, message, StatementAnswer);
  }

  escrow(epoch: number, note: EscrowNote, blob: Uint8Array): Promise<Verdict<EscrowAnswer>> {
    const message = { protocol: PROTOCOL_VERSION, epoch, note, blob: base64url(blob) };
    return this.#exchange(DEVICE_PATHS.credentialsEscrow, message, EscrowAnswer);
  }

  /** `certificateRequest`: PKCS#10, DER. */
  renew(certificateRequest: Uint8Array): Promise<Verdict<RenewAnswer>> {
    const message = { protocol: PROTOCOL_VERSION, certificateRequest: base64url(certificateRequest) };
    return this.#exchange(DEVICE_PATHS.credentialsRenew, message, RenewAnswer);
  }

  /** Whether the server answers at all; what it answers does not matter. A server that is not ours is not reachable. */
  async reachable(): Promise<boolean> {
    try {
      return (await this.#server.request({ method: 'GET', path: DEVICE_PATHS.health, capBytes: DEVICE_BODY_CAP_BYTES }))
        .ok;
    } catch (error) {
      if (error instanceof SourceUnreachable) return false;
      throw error;
    }
  }

  async #exchange<T>(path: string, message: unknown, schema: v.GenericSchema<unknown, T>): Promise<Verdict<T>> {
    const body = new TextEncoder().encode(JSON.stringify(message));
    const answer = await this.#server.request({ method: 'POST', path, body, capBytes: DEVICE_BODY_CAP_BYTES });
    return answer.ok ? decodeAnswer(answer.value, path, schema) : answer;
  }
}

/** A status of 200 and the schema's shape; ServerSaidNo for 4xx, SourceUnreachable for anything that may pass. */
export function decodeAnswer<T>(answer: HttpAnswer, path: string, schema: v.GenericSchema<unknown, T>): Verdict<T> {
  const json = parseJson(answer.body);
  const { status } = answer;
  if (status === 200) {
    const decoded = v.safeParse(schema, json);
    if (decoded.success) return accept(decoded.output);
    return refuse('answer-malformed', `${path}: ${decoded.issues[0].message}`.slice(0, 300));
  }
  const said = v.safeParse(ErrorAnswer, json);
  if (status >= 400 && status < 500 && status !== 408 && status !== 429 && said.success)
    throw new ServerSaidNo(status, said.output);
  throw new SourceUnreachable(
    `${path}: the server answered with status ${status}${said.success ? ` (${said.output.code})` : ''}`,
  );
}

export function parseJson(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch {
    return undefined;
  }
}
