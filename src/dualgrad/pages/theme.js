// The colour scheme: the system's, unless the reader chose one here. Storage may be refused to local files.
const theme = {
  onScreen: null, // while a page is printed: the scheme that it goes back to
  stored() { try { return localStorage.getItem('dualgrad-theme'); } catch { return null; } },
  set(name) {
    document.documentElement.dataset.theme = name;
    document.dispatchEvent(new Event('themechange'));
  },
  toggle() {
    const name = document.documentElement.dataset.theme === 'dark' ? 'light' : 'dark';
    try { localStorage.setItem('dualgrad-theme', name); } catch { /* then for this visit only */ }
    theme.set(name);
  },
};
const darkness = matchMedia('(prefers-color-scheme: dark)');
theme.set(theme.stored() ?? (darkness.matches ? 'dark' : 'light'));
document.addEventListener('click', event => { if (event.target.closest?.('[data-theme-toggle]')) theme.toggle(); });
darkness.addEventListener('change', () => theme.stored() ?? theme.set(darkness.matches ? 'dark' : 'light'));
// Paper is light.
addEventListener('beforeprint', () => { theme.onScreen = document.documentElement.dataset.theme; theme.set('light'); });
addEventListener('afterprint', () => { theme.set(theme.onScreen); theme.onScreen = null; });

// Buttons with data-copy copy the text of the element that they sit in.
document.addEventListener('click', async event => {
  const button = event.target.closest?.('button[data-copy]');
  if (!button) return;
  const text = button.dataset.copy || button.parentElement.firstChild.textContent;
  try {
    await navigator.clipboard.writeText(text);
  } catch { // no permission, or a local file in an older browser
    const area = document.body.appendChild(Object.assign(document.createElement('textarea'), { value: text }));
    area.select();
    document.execCommand('copy');
    area.remove();
    button.focus();
  }
  button.textContent = 'Copied';
  setTimeout(() => { button.textContent = 'Copy'; }, 1500);
});
