// Rollouts, newest first, each wave as a bar: confirmed, failed, at work, not reached.
import { get } from './api.js';
import { element, moment } from './words.js';

const SVG = 'http://www.w3.org/2000/svg';
const SHOWN = 10;

export async function loadRollouts() {
  const { rollouts } = await get('/api/v1/rollouts');
  const place = document.getElementById('rollouts');
  if (rollouts.length === 0) {
    place.replaceChildren(
      element('p', { class: 'empty', text: 'None yet. Start one: holdfast rollout start RELEASE.' }),
    );
    return;
  }
  place.replaceChildren(...rollouts.slice(0, SHOWN).map(card));
  if (rollouts.length > SHOWN) {
    place.append(element('p', { class: 'empty', text: `and ${rollouts.length - SHOWN} older: holdfast rollout list` }));
  }
}

const KIND = { running: 'busy', complete: 'good', halted: 'bad', paused: 'idle', cancelled: 'idle' };

function card(rollout) {
  const { release } = rollout;
  const title = element(
    'h3',
    {},
    `${rollout.rolloutId}: ${release.version} for ${release.hardwareClass}, ${release.channel}${rollout.purpose === 'update' ? '' : `, ${rollout.purpose}`} – `,
  );
  title.append(element('span', { class: KIND[rollout.state], text: rollout.state }));
  const counts = element('p', { class: 'counts' });
  for (const [count, word] of [
    [rollout.devices, 'devices'],
    [rollout.confirmed, 'confirmed'],
    [rollout.failed, 'failed'],
    [rollout.neverStarted, 'never started'],
  ]) {
    counts.append(element('span', { text: `${count} ${word}` }));
  }
  counts.append(element('span', {}, `started by ${rollout.createdBy}, `, moment(rollout.createdUnixMs)));
  const reason = element('p', { class: `reason ${rollout.state === 'halted' ? 'bad' : ''}`, text: rollout.reason });
  const waves = element('ol', { class: 'waves' }, ...rollout.waves.map(waveLine));
  return element('article', { class: `rollout ${rollout.state}` }, title, reason, counts, waves);
}

function waveLine(wave, index) {
  const size = wave.wave.devices === undefined ? `${wave.wave.percent} %` : `${wave.wave.devices} dev.`;
  const words = `${wave.confirmed} of ${wave.devices} confirmed${wave.failed > 0 ? `, ${wave.failed} failed` : ''}, ${wave.state}`;
  return element(
    'li',
    {},
    element('span', { text: `Wave ${index + 1}, ${size}` }),
    bar(wave, words),
    element('span', { text: words }),
  );
}

/** Drawn with attributes: the page's policy allows no inline style. */
function bar(wave, words) {
  const svg = document.createElementNS(SVG, 'svg');
  for (const [name, value] of Object.entries({
    class: 'bar',
    viewBox: '0 0 100 10',
    preserveAspectRatio: 'none',
    role: 'img',
    'aria-label': words,
  })) {
    svg.setAttribute(name, value);
  }
  const share = (count) => (wave.devices === 0 ? 0 : (count * 100) / wave.devices);
  const working = Math.max(0, wave.attempted - wave.confirmed - wave.failed);
  let x = 0;
  const draw = (kind, width) => {
    const rect = document.createElementNS(SVG, 'rect');
    for (const [name, value] of Object.entries({ class: kind, x, y: 0, width, height: 10 }))
      rect.setAttribute(name, String(value));
    svg.append(rect);
  };
  draw('track', 100);
  for (const [kind, count] of [
    ['confirmed', wave.confirmed],
    ['failed', wave.failed],
    ['working', working],
  ]) {
    draw(kind, share(count));
    x += share(count);
  }
  return svg;
}
