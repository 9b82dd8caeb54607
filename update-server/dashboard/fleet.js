// The fleet as a table, and one device in a dialog.
import { get } from './api.js';
import { cell, element, moment, REASON_WORDS, STANDING_WORDS, show } from './words.js';

const ROWS = 500;
const DAY_MS = 24 * 3600 * 1000;
let devices = [];

export async function loadFleet() {
  devices = (await get('/api/v1/devices')).devices;
  const online = devices.filter((device) => device.online).length;
  const troubled = devices.filter((device) => REASON_WORDS[device.reason]?.[1] === 'bad').length;
  const trouble = troubled === 0 ? '' : ` · ${troubled} need a look`;
  const unproven = devices.filter(isUnproven).length;
  const secrets = unproven === 0 ? '' : ` · ${unproven} have not proven rotation`;
  const ending = devices.filter((device) => !isUnproven(device) && endsWithin(device, 30 * DAY_MS)).length;
  const ends = ending === 0 ? '' : ` · ${ending} certificates end within 30 days`;
  show('summary', `${devices.length} devices · ${online} online${trouble}${secrets}${ends}`);
  drawFleet();
}

/** A certificate is renewed after two thirds of its life: one that is near its end was not. */
function endsWithin({ enrolment, certificateEndsUnixMs: ends }, ms) {
  return enrolment === 'enrolled' && ends !== null && ends - Date.now() <= ms;
}

/** The gate gives those with factory secrets short ones: their end says nothing of a renewal. */
const endsWhy = (device) => (isUnproven(device) ? 'short until its factory secrets are gone' : 'and was not renewed');

/** Enrolled, and nothing shows that its factory secrets are gone. */
const isUnproven = (device) => device.credentials !== null && device.credentials !== 'proven';

export function drawFleet() {
  const wanted = document.getElementById('search').value.trim().toLowerCase();
  const found = devices.filter((device) => wanted === '' || textOf(device).includes(wanted));
  const rows = found.slice(0, ROWS).map(row);
  const place = document.getElementById('fleet');
  const focused = document.activeElement?.dataset?.device;
  place.replaceChildren(...rows);
  if (focused !== undefined) place.querySelector(`[data-device="${CSS.escape(focused)}"]`)?.focus();
  if (found.length === 0)
    place.append(element('tr', {}, element('td', { colspan: '9', class: 'empty', text: 'No device.' })));
  const cut = found.length > ROWS ? `, the first ${ROWS} shown` : '';
  document.getElementById('shown').textContent =
    wanted === '' && cut === '' ? '' : `${found.length} of ${devices.length}${cut}`;
}

function textOf(device) {
  const [reason] = REASON_WORDS[device.reason] ?? [device.reason];
  const parts = [
    device.deviceId,
    device.hardwareClass,
    device.channel,
    device.state,
    device.installed?.version,
    device.reason,
    reason,
    ...(STANDING_WORDS[device.credentials] ?? []).slice(0, 1),
    device.credentials,
  ];
  return parts.join(' ').toLowerCase();
}

function row(device) {
  const [reason, kind] = REASON_WORDS[device.reason] ?? [device.reason, ''];
  const name = element('button', {
    type: 'button',
    class: 'name',
    text: device.deviceId,
    'data-device': device.deviceId,
  });
  name.addEventListener('click', () => openDevice(device.deviceId));
  const online = device.enrolment === 'enrolled' ? (device.online ? 'online' : 'away') : device.enrolment;
  const since = element('td', { class: 'nowrap', 'data-label': 'Since' }, moment(device.reasonSinceUnixMs));
  return element(
    'tr',
    isUnproven(device) ? { class: 'unproven' } : {},
    element('th', { scope: 'row' }, name),
    cell('Class', device.channel === null ? device.hardwareClass : `${device.hardwareClass}, ${device.channel}`),
    cell('Online', online, device.online ? 'good' : 'idle'),
    cell('State', device.state ?? '–', 'nowrap'),
    cell('Slot', device.bootedSlot ?? '–'),
    cell(
      'Version',
      device.installed === null ? '–' : `${device.installed.version} (${device.installed.sequence})`,
      'nowrap',
    ),
    cell('Credentials', ...(STANDING_WORDS[device.credentials] ?? ['–', 'idle'])),
    cell('Why', reason, kind),
    since,
  );
}

async function openDevice(deviceId) {
  const { device, explanation, credentials, history } = await get(`/api/v1/devices/${encodeURIComponent(deviceId)}`);
  document.getElementById('device-name').textContent = deviceId;
  const [reason] = REASON_WORDS[explanation.reason] ?? [explanation.reason];
  const facts = [
    ['Why', reason],
    ['Detail', explanation.detail || '–'],
    ['Next', explanation.next],
    ['Cure', explanation.cure],
    [
      'Version',
      device.installed === null
        ? '–'
        : `${device.installed.version} (sequence ${device.installed.sequence}, floor ${device.floorSequence})`,
    ],
    ['Agent, board', `${device.agentVersion ?? '–'}, ${device.board ?? '–'}`],
    ...(credentials === null ? [] : credentialFacts(credentials)),
  ];
  const list = facts.flatMap(([term, text]) => [element('dt', { text: term }), element('dd', { text })]);
  if (device.certificateEndsUnixMs !== null) {
    const alarm = [30, 7, 1].filter((days) => endsWithin(device, days * DAY_MS)).at(-1);
    const words = new Date(device.certificateEndsUnixMs).toLocaleString();
    const within = alarm === undefined ? '' : ` – within ${alarm} ${alarm === 1 ? 'day' : 'days'}, ${endsWhy(device)}`;
    list.push(element('dt', { text: 'Certificate ends' }));
    list.push(element('dd', { class: alarm === undefined ? '' : 'bad', text: `${words}${within}` }));
  }
  list.push(element('dt', { text: 'Last heard' }), element('dd', {}, moment(device.lastSeenUnixMs)));
  document.getElementById('device-facts').replaceChildren(...list);
  const lines = history.map((event) => element('li', {}, moment(event.atUnixMs), ` ${event.text || event.kind}`));
  document.getElementById('device-history').replaceChildren(...lines);
  document.getElementById('device').showModal();
}

function credentialFacts({ standing, state, epoch, flags, inventory, escrow, waitingKeys }) {
  const [words] = STANDING_WORDS[standing] ?? [standing];
  const stated = state === null ? 'nothing stated yet' : `epoch ${epoch}, ${state}`;
  return [
    ['Credentials', `${words} (${stated})`],
    ...flags.map(({ code, detail }) => ['Against it', `${code}: ${detail}`]),
    ...waitingKeys.map(({ keySha256 }) => ['Waits for approval', `key ${keySha256.slice(0, 12)}`]),
    ['Escrow', escrow === null ? 'none' : `epoch ${escrow.epoch}, for ${escrow.owners.length} owners`],
    ...(inventory.length === 0
      ? []
      : [['Inventory', inventory.map((entry) => `${entry.name} ${entry.state}`).join(', ')]]),
  ];
}
