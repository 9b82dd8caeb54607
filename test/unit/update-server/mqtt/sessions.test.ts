import { Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import { describe, expect, test } from 'vitest';
import { FrameMeter } from '../../../../update-server/mqtt/frame-gate.ts';
import { SESSIONS_PER_DEVICE, type Session, Sessions } from '../../../../update-server/mqtt/sessions.ts';

const identity = (fingerprint: string) => ({
  deviceId: 'cam-0001',
  serial: '41',
  fingerprint,
  notBeforeUnixMs: 0,
  notAfterUnixMs: 1,
});

function open(sessions: Sessions, fingerprint = 'one'): Session {
  const session = sessions.open(identity(fingerprint), new TLSSocket(new Socket()));
  if (session === undefined) throw new Error('too many sessions');
  session.ready = true;
  return session;
}

describe('sessions of a device', () => {
  test('with another certificate do not take a live one over; with the same they do', () => {
    const sessions = new Sessions();
    const live = open(sessions);
    expect(sessions.heldByAnother(identity('two'))).toBe(true);
    expect(sessions.heldByAnother(identity('one'))).toBe(false);
    sessions.close(live);
    expect(sessions.heldByAnother(identity('two'))).toBe(false);
  });

  test('are limited in number', () => {
    const sessions = new Sessions();
    for (let i = 0; i < SESSIONS_PER_DEVICE; i += 1) open(sessions);
    expect(sessions.open(identity('one'), new TLSSocket(new Socket()))).toBeUndefined();
  });

  test('make it be here until the last of them is gone or says so', () => {
    const sessions = new Sessions();
    const [old, fresh] = [open(sessions), open(sessions)];
    old.said = 'gone';
    expect(sessions.presenceOf('cam-0001')).toBe('here');
    fresh.said = 'gone';
    expect(sessions.presenceOf('cam-0001')).toBe('gone');
  });
});

describe('the frame meter', () => {
  const frame = (length: number): Uint8Array => {
    const header = [0x30];
    let left = length;
    do {
      header.push((left % 128) | (left > 127 ? 0x80 : 0));
      left = Math.floor(left / 128);
    } while (left > 0);
    return Uint8Array.from([...header, ...new Uint8Array(length)]);
  };

  test.each([0, 1, 127, 128, 2048])('lets a frame of %i bytes through, however it is cut', (length) => {
    const bytes = Buffer.concat([frame(length), frame(2), frame(length)]);
    for (const step of [1, 3, bytes.length]) {
      const meter = new FrameMeter(2048);
      for (let at = 0; at < bytes.length; at += step) expect(meter.admit(bytes.subarray(at, at + step))).toBe(true);
    }
  });

  test.each([
    ['one byte above the cap', frame(2049)],
    ['a quarter of a gigabyte, announced', Uint8Array.of(0x30, 0xff, 0xff, 0xff, 0x7f)],
    ['a length that does not end', Uint8Array.of(0x30, 0x80, 0x80, 0x80, 0x80)],
  ])('stops at %s, before its body', (_name, bytes) => {
    expect(new FrameMeter(2048).admit(bytes.subarray(0, 5))).toBe(false);
  });
});
