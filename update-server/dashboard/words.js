// How things are said and shown: words for reasons, times, elements. Text goes into the page as text, never as markup.

export const REASON_WORDS = {
  'on-target': ['on target', 'good'],
  'no-rollout': ['no rollout names it', 'idle'],
  'no-slots': ['no slots: no updates', 'idle'],
  'not-enrolled': ['not enrolled yet', 'idle'],
  revoked: ['revoked', 'bad'],
  'other-class': ['release is for another class', 'idle'],
  'other-channel': ['release is for another channel', 'idle'],
  'waiting-for-wave': ['waiting for its wave', 'idle'],
  'rollout-paused': ['rollout paused', 'idle'],
  'rollout-halted': ['rollout halted', 'idle'],
  'not-seen': ['not seen since the offer', 'idle'],
  installing: ['installing', 'busy'],
  'waiting-for-reboot': ['waiting for its reboot', 'busy'],
  'in-use': ['in use: waits', 'busy'],
  'link-metered': ['waits for a link that is not metered', 'busy'],
  'budget-spent': ['waits for its next budget', 'busy'],
  'on-trial': ['on trial', 'busy'],
  'silent-after-reboot': ['silent after its reboot', 'bad'],
  'rolled-back': ['rolled back', 'bad'],
  'release-refused': ['refused the release', 'bad'],
  'install-failed': ['could not install', 'bad'],
  'deadline-passed': ['did not finish in time', 'bad'],
  held: ['held: updates only', 'bad'],
  'factory-credentials': ['factory secrets: repairs only', 'bad'],
  'rotation-owed': ['rotates its credentials first', 'busy'],
  'awaiting-approval': ['other hardware: waits for approval', 'bad'],
};

/** How a device stands with its credentials. */
export const STANDING_WORDS = {
  proven: ['rotated', 'good'],
  factory: ['factory secrets', 'bad'],
  flagged: ['suspect', 'bad'],
  'awaiting-approval': ['other hardware', 'bad'],
};

export function element(tag, options = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(options)) {
    if (name === 'text') made.textContent = value;
    else if (name === 'class') made.className = value;
    else if (name === 'onclick') made.addEventListener('click', value);
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

/** A table cell that carries its column's name, for narrow screens. */
export function cell(label, text, kind = '') {
  return element('td', { text, class: kind, 'data-label': label });
}

export function moment(unixMs) {
  const time = element('time', { text: '–' });
  if (unixMs === null) return time;
  const date = new Date(unixMs);
  time.textContent = ago(Date.now() - unixMs);
  time.dateTime = date.toISOString();
  time.title = date.toLocaleString();
  return time;
}

export function ago(ms) {
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < 60) return `${seconds} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ago`;
  return `${Math.floor(seconds / 86400)} d ago`;
}

/** Times on the page grow old without any event. */
export function refreshMoments() {
  for (const time of document.querySelectorAll('time[datetime]')) {
    time.textContent = ago(Date.now() - Date.parse(time.dateTime));
  }
}

export function show(id, text) {
  const place = document.getElementById(id);
  place.textContent = text;
  place.hidden = text === '';
}
