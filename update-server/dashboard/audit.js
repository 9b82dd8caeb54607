// The newest audit entries, and whether the chain of their hashes holds.
import { get } from './api.js';
import { cell, element, moment } from './words.js';

export async function loadAudit() {
  const { entries, chain } = await get('/api/v1/audit?limit=20');
  const place = document.getElementById('chain');
  place.textContent = chain.ok
    ? `${chain.entries} entries; the chain of their hashes holds.`
    : `The chain is broken at entry ${chain.brokenAtIndex}: somebody altered the log.`;
  place.className = chain.ok ? 'chain' : 'chain bad';
  const rows = entries.map((entry) =>
    element(
      'tr',
      {},
      element('td', { class: 'nowrap', 'data-label': 'When' }, moment(entry.atUnixMs)),
      cell('Who', entry.actor),
      cell('What', entry.action, 'nowrap'),
      cell('Of', entry.subject),
      cell('Detail', entry.detail),
    ),
  );
  document.getElementById('audit').replaceChildren(...rows);
}
