import { createHash } from 'node:crypto';
import * as v from 'valibot';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  ARTIFACT_PIECE_CAP_BYTES,
  AuditAnswer,
  ClaimsAnswer,
  CredentialsAnswer,
  DeviceDetail,
  DevicesAnswer,
  OPERATOR_BODY_CAP_BYTES,
  OPERATOR_PATHS,
  ReleasesAnswer,
  RolloutsAnswer,
  RolloutView,
} from '../../../../protocol/operator-api.ts';
import type { ServerEvent } from '../../../../update-server/core/events.ts';
import { enrolFleet, order, publish, release } from '../store/fixture.ts';
import { type OperatorLab, openOperatorLab } from './operator-fixture.ts';

let operators: OperatorLab;
let admin: string;
beforeEach(async () => {
  operators = await openOperatorLab();
  admin = await operators.token('admin');
});
afterEach(() => operators.close());

const get = (url: string) => operators.send({ method: 'GET', url, token: admin });
const post = (url: string, payload: object) => operators.send({ method: 'POST', url, token: admin, payload });

describe('answers', () => {
  it('have exactly the shapes of the protocol, for the fleet, releases, rollouts and the audit', async () => {
    await enrolFleet(operators.lab, 3);
    await publish(operators.lab, release(2));
    const seen: ServerEvent[] = [];
    operators.events.subscribe((event) => seen.push(event));
    const started = await post(OPERATOR_PATHS.rollouts, order(2));
    expect(started.statusCode).toBe(201);
    const { rolloutId } = v.parse(RolloutView, started.json());
    expect(seen.filter((event) => event.kind === 'hint')).toHaveLength(1);
    expect(seen.some((event) => event.kind === 'rollout' && event.id === rolloutId)).toBe(true);
    expect(v.parse(DevicesAnswer, (await get(OPERATOR_PATHS.devices)).json()).devices).toHaveLength(3);
    v.parse(DeviceDetail, (await get(`${OPERATOR_PATHS.devices}/cam-0001`)).json());
    expect(v.parse(ReleasesAnswer, (await get(OPERATOR_PATHS.releases)).json()).releases).toHaveLength(1);
    expect(v.parse(RolloutsAnswer, (await get(OPERATOR_PATHS.rollouts)).json()).rollouts).toHaveLength(1);
    const paused = await post(`${OPERATOR_PATHS.rollouts}/${rolloutId}/pause`, {});
    expect(v.parse(RolloutView, paused.json()).state).toBe('paused');
    const again = await post(`${OPERATOR_PATHS.rollouts}/${rolloutId}/pause`, {});
    expect([again.statusCode, again.json().code]).toEqual([409, 'not-in-this-state']);
    const audit = v.parse(AuditAnswer, (await get(`${OPERATOR_PATHS.audit}?limit=2`)).json());
    expect(audit.entries.map((entry) => entry.action)).toEqual(['rollout.pause', 'rollout.wave']);
    expect(audit.chain.ok).toBe(true);
    const older = v.parse(AuditAnswer, (await get(`${OPERATOR_PATHS.audit}?limit=1&before=1`)).json());
    expect(older.entries.map((entry) => entry.index)).toEqual([0]);
  });

  it('give what devices state of their credentials by pages, each enrolled device once, and no page larger than it may be', async () => {
    await enrolFleet(operators.lab, 5);
    await post(OPERATOR_PATHS.claims, { hardwareClass: 'acme-cam', ids: ['cam-0099'], expiresInDays: 7 });
    const page = async (query: string) =>
      v.parse(CredentialsAnswer, (await get(`${OPERATOR_PATHS.credentials}${query}`)).json());
    const ids: string[] = [];
    let query = '?limit=2';
    for (let next: string | null = ''; next !== null; query = `?limit=2&after=${next}`) {
      const { devices, next: following } = await page(query);
      expect(devices.length).toBeLessThanOrEqual(2);
      ids.push(...devices.map(({ deviceId }) => deviceId));
      next = following;
    }
    expect(ids).toEqual(['cam-0001', 'cam-0002', 'cam-0003', 'cam-0004', 'cam-0005']);
    const whole = await page('');
    expect([whole.devices.length, whole.next]).toEqual([5, null]);
    const one = v.parse(DeviceDetail, (await get(`${OPERATOR_PATHS.devices}/cam-0003`)).json());
    expect(whole.devices[2]?.credentials).toEqual(one.credentials);
    for (const wrong of ['?limit=501', '?limit=0', '?limit=x', '?after=..%2F', '?before=1']) {
      expect((await get(`${OPERATOR_PATHS.credentials}${wrong}`)).statusCode, wrong).toBe(400);
    }
  });

  it('give claims once, and refuse ids that are taken', async () => {
    const order = { hardwareClass: 'acme-cam', ids: ['cam-0001'], expiresInDays: 7 };
    const made = await post(OPERATOR_PATHS.claims, order);
    expect(v.parse(ClaimsAnswer, made.json()).claims[0]?.claimId).toBe('cam-0001');
    const again = await post(OPERATOR_PATHS.claims, order);
    expect([again.statusCode, again.json().code]).toEqual([409, 'ids-taken']);
  });

  it('revoke a device, and tell the listeners that end its sessions', async () => {
    await enrolFleet(operators.lab, 1);
    const seen: ServerEvent[] = [];
    operators.events.subscribe((event) => seen.push(event));
    const revoked = await post(`${OPERATOR_PATHS.devices}/cam-0001/revoke`, { why: 'lost' });
    expect(v.parse(DeviceDetail, revoked.json()).device.enrolment).toBe('revoked');
    expect(seen).toContainEqual({ kind: 'revoked', id: 'cam-0001' });
  });

  it('keep an artifact under its digest, refuse another digest, and need a length', async () => {
    const bytes = Buffer.from('an image');
    const sha256 = createHash('sha256').update(bytes).digest('hex');
    const headers = { 'content-type': 'application/octet-stream' };
    const put = (name: string) =>
      operators.send({
        method: 'PUT',
        url: `${OPERATOR_PATHS.artifacts}/${name}`,
        token: admin,
        headers,
        payload: bytes,
      });
    expect((await put(sha256)).json()).toEqual({ sha256, sizeBytes: 8 });
    expect((await put(sha256)).json()).toEqual({ sha256, sizeBytes: 8 });
    const wrong = await put('b'.repeat(64));
    expect([wrong.statusCode, wrong.json().code]).toEqual([422, 'digest-mismatch']);
    const head = await operators.send({ method: 'HEAD', url: `${OPERATOR_PATHS.artifacts}/${sha256}`, token: admin });
    expect([head.statusCode, head.headers['content-length']]).toEqual([200, '8']);
  });

  it('give an artifact out in ranges, to operators, and never whole', async () => {
    const sha256 = createHash('sha256').update('an image').digest('hex');
    operators.artifacts.set(sha256, Buffer.from('an image'));
    const url = `${OPERATOR_PATHS.artifacts}/${sha256}`;
    const range = (value: string, token = admin) => operators.send({ url, token, headers: { range: value } });
    const part = await range('bytes=3-7');
    expect([part.statusCode, part.headers['content-range'], part.body]).toEqual([206, 'bytes 3-7/8', 'image']);
    expect((await range('bytes=8-9')).statusCode).toBe(416);
    expect((await operators.send({ url, token: admin })).statusCode).toBe(416);
    expect((await range('bytes=0-1', await operators.token('viewer'))).json().code).toBe('role-too-weak');
    const unknown = `${OPERATOR_PATHS.artifacts}/${'c'.repeat(64)}`;
    expect((await operators.send({ url: unknown, token: admin })).json().code).toBe('artifact-missing');
    operators.artifacts.set('d'.repeat(64), new Uint8Array(ARTIFACT_PIECE_CAP_BYTES + 1));
    const large = { url: `${OPERATOR_PATHS.artifacts}/${'d'.repeat(64)}`, token: admin };
    const whole = `bytes=0-${ARTIFACT_PIECE_CAP_BYTES}`;
    expect((await operators.send({ ...large, headers: { range: whole } })).statusCode).toBe(416);
    const most = `bytes=1-${ARTIFACT_PIECE_CAP_BYTES}`;
    expect((await operators.send({ ...large, headers: { range: most } })).statusCode).toBe(206);
  });

  it('pass on what publication refused, with its code', async () => {
    const answer = await post(OPERATOR_PATHS.publish, { roots: [], targets: '{}' });
    expect([answer.statusCode, answer.json().code]).toEqual([422, 'metadata-threshold-not-met']);
  });

  it('serve metadata by its own names only', async () => {
    expect((await get(`${OPERATOR_PATHS.metadata}/1.root.json`)).statusCode).toBe(200);
    expect((await get(`${OPERATOR_PATHS.metadata}/2.root.json`)).json().code).toBe('metadata-missing');
    expect((await get(`${OPERATOR_PATHS.metadata}/${encodeURIComponent('../db.sqlite')}`)).statusCode).toBe(400);
  });

  it('tell in which forms images travel, and that something of it changed', async () => {
    const state = {
      imageSha256: 'a'.repeat(64),
      kind: 'recipe',
      fromSha256: 'b'.repeat(64),
      state: 'making',
      sizeBytes: null,
      donePercent: 40,
      detail: 'packing',
    } as const;
    operators.transport.push(state);
    const answer = v.parse(ReleasesAnswer, (await get(OPERATOR_PATHS.releases)).json());
    expect(answer.transport).toEqual([state]);
  });

  it('count the fleet, and what travels, for Prometheus', async () => {
    await enrolFleet(operators.lab, 2);
    const { counters } = operators.ports.preparation;
    counters.made.recipe = 3;
    counters.failed.blocks = 1;
    counters.servedBytes.packed = 12_345;
    await get('/metrics');
    const { body } = await get('/metrics');
    expect(body).toContain('holdfast_transport_queue 2');
    expect(body).toContain('holdfast_transport_stored_bytes 77');
    expect(body).toContain('holdfast_transport_made_total{kind="recipe"} 3');
    expect(body).toContain('holdfast_transport_failed_total{kind="blocks"} 1');
    expect(body).toContain('holdfast_served_bytes_total{form="packed"} 12345');
    expect(body).toContain('holdfast_served_bytes_total{form="whole"} 0');
    expect(body).toContain('holdfast_devices{enrolment="enrolled"} 2');
    expect(body).toContain('holdfast_devices_by_reason{reason="no-rollout"} 2');
    expect(body).toContain('holdfast_devices_by_credentials{standing="factory"} 2');
    expect(body).toContain('holdfast_rotations{state="running"} 0');
  });

  it('count certificates that end within 30 days, 7 and 1, and those that have ended', async () => {
    await enrolFleet(operators.lab, 2);
    const DAY_MS = 24 * 3600 * 1000;
    const ending = async () => {
      const { body } = await get('/metrics');
      return [30, 7, 1, 0].map((days) => Number(body.match(`expiring{days="${days}"} (\\d+)`)?.[1]));
    };
    expect(await ending()).toEqual([0, 0, 0, 0]);
    operators.lab.nowUnixMs += 340 * DAY_MS;
    expect(await ending()).toEqual([2, 0, 0, 0]);
    operators.lab.nowUnixMs += 24.5 * DAY_MS;
    expect(await ending()).toEqual([2, 2, 2, 0]);
    operators.lab.nowUnixMs += DAY_MS;
    expect(await ending()).toEqual([2, 2, 2, 2]);
  });
});

describe('bad input', () => {
  const raw = (payload: string, type = 'application/json') =>
    operators.send({
      method: 'POST',
      url: OPERATOR_PATHS.claims,
      token: admin,
      payload,
      headers: { 'content-type': type },
    });

  it.each([
    ['not JSON', '{"a":', 400, 'json-malformed'],
    ['a name twice', '{"ids":["a"],"ids":["b"],"hardwareClass":"c","expiresInDays":1}', 400, 'json-malformed'],
    ['too deep', '['.repeat(40) + ']'.repeat(40), 400, 'json-malformed'],
    ['an unknown field', '{"ids":["a"],"hardwareClass":"c","expiresInDays":1,"x":1}', 400, 'request-malformed'],
    ['a missing field', '{"ids":["a"]}', 400, 'request-malformed'],
    ['a name with a path in it', '{"ids":["../a"],"hardwareClass":"c","expiresInDays":1}', 400, 'request-malformed'],
    ['a number out of range', '{"ids":["a"],"hardwareClass":"c","expiresInDays":1e9}', 400, 'request-malformed'],
    ['too much', `"${'x'.repeat(OPERATOR_BODY_CAP_BYTES)}"`, 413, 'body-too-large'],
  ])('of the kind "%s" gets one clear refusal', async (_kind, payload, status, code) => {
    const answer = await raw(payload);
    expect([answer.statusCode, answer.json().code]).toEqual([status, code]);
    expect(answer.json().cure.length).toBeGreaterThan(10);
    expect(answer.body).not.toMatch(/ at .*:\d+|node_modules|SELECT/);
  });

  it('of another content type is refused', async () => {
    const answer = await raw('<a/>', 'text/xml');
    expect([answer.statusCode, answer.json().code]).toEqual([415, 'content-type-refused']);
  });

  it('that names a rollout, device or release which is not there gets a 404 with its own code', async () => {
    expect((await get(`${OPERATOR_PATHS.rollouts}/r99`)).json().code).toBe('rollout-unknown');
    expect((await get(`${OPERATOR_PATHS.devices}/cam-9999`)).json().code).toBe('device-unknown');
    expect((await post(OPERATOR_PATHS.rollouts, order(9))).json().code).toBe('release-unknown');
  });
});

describe('the event stream', () => {
  it('tells what changed, once for changes that follow each other, and ends with the server', async () => {
    const address = await operators.app.listen({ port: 0, host: '127.0.0.1' });
    const answer = await fetch(`${address}${OPERATOR_PATHS.events}`, { headers: { authorization: `Bearer ${admin}` } });
    expect(answer.headers.get('content-type')).toContain('text/event-stream');
    const reader = answer.body?.getReader();
    let text = '';
    for (let index = 0; index < 5; index += 1) operators.events.emit({ kind: 'device', id: 'cam-0001' });
    operators.events.emit({ kind: 'hint', id: 'cam-0001' });
    operators.events.emit({ kind: 'audit', id: 'audit' });
    while (!text.includes('audit')) text += new TextDecoder().decode((await reader?.read())?.value);
    expect(text.match(/^data: .*$/gm)).toEqual([
      'data: {"kind":"device","id":"cam-0001"}',
      'data: {"kind":"audit","id":"audit"}',
    ]);
    await operators.app.close();
    await expect(reader?.read().then(({ done }) => done))
      .resolves.toBe(true)
      .catch(() => undefined);
  });
});
