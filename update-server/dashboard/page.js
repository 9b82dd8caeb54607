// The live page: reads the API once, and again whatever changed when the server says so.
import { get, listen, signOut } from './api.js';
import { loadAudit } from './audit.js';
import { drawFleet, loadFleet } from './fleet.js';
import { loadRollouts } from './rollouts.js';
import { refreshMoments, show } from './words.js';

const LOADERS = { device: loadFleet, rollout: loadRollouts, audit: loadAudit };
const BANNERS = {
  lab: 'LAB: this server signs for testers. Devices with a production root refuse everything it signs.',
  rehearsal: 'REHEARSAL: the root was made by one person on one machine. Not for devices that leave the house.',
};
/** At most one reading of a kind at a time, and one more after it if something changed meanwhile. */
const PAUSE_MS = 300;
const FULL_READ_MS = 60_000;

const wanted = new Set();
let reading = false;

async function read() {
  if (reading) return;
  reading = true;
  while (wanted.size > 0) {
    const kinds = [...wanted];
    wanted.clear();
    try {
      await Promise.all(kinds.map((kind) => LOADERS[kind]()));
      show('problem', '');
    } catch (error) {
      show('problem', `The server does not answer as it should: ${error.message}`);
    }
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
  }
  reading = false;
}

function want(...kinds) {
  for (const kind of kinds) if (kind in LOADERS) wanted.add(kind);
  void read();
}

function showLive(on) {
  const live = document.getElementById('live');
  live.textContent = on ? 'live' : 'reconnecting';
  live.classList.toggle('on', on);
  if (on) want('device', 'rollout', 'audit');
}

async function start() {
  const me = await get('/api/v1/whoami');
  show('environment', BANNERS[me.environment] ?? '');
  show('who', `${me.name}, ${me.role}`);
  show('version', `holdfast-server ${me.serverVersion}`);
  document.getElementById('sign-out').addEventListener('click', signOut);
  document.getElementById('search').addEventListener('input', drawFleet);
  want('device', 'rollout', 'audit');
  listen(want, showLive);
  setInterval(refreshMoments, 5000);
  // Who is online changes without an event: a device that falls silent says nothing.
  setInterval(() => want('device', 'rollout'), FULL_READ_MS);
}

start().catch((error) => show('problem', error.message));
