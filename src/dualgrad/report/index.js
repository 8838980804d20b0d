// Which variant of the figures is shown stands in the address: #audited.
const switches = [...document.querySelectorAll('.switch button')];
function show(variant) {
  for (const button of switches) button.setAttribute('aria-pressed', button.dataset.variant === variant);
  for (const host of document.querySelectorAll('.by-variant')) {
    const wanted = host.querySelector(`:scope > [data-variant="${variant}"]`) ?? host.firstElementChild;
    for (const one of host.children) one.hidden = one !== wanted;
  }
  const note = document.getElementById('audit');
  if (note) note.hidden = variant !== 'audited' || !document.querySelector('.picture[data-variant="audited"]');
}
function readAddress() {
  const words = location.hash.slice(1).split('/');
  show(words.includes('audited') ? 'audited' : 'published');
  const figure = words.find(word => word && word !== 'audited');
  const there = figure && document.getElementById(figure);
  const strange = document.getElementById('strange');
  strange.hidden = !figure || Boolean(there);
  strange.textContent = strange.hidden ? '' : `The address names what is not in this report: “${figure}”.`;
  there?.scrollIntoView();
}
for (const button of switches) button.onclick = () => {
  const figure = location.hash.slice(1).split('/').find(word => word && word !== 'audited');
  const words = [figure, button.dataset.variant === 'audited' ? 'audited' : ''].filter(Boolean);
  history.replaceState(null, '', `#${words.join('/')}`);
  show(button.dataset.variant);
};
addEventListener('hashchange', readAddress);
readAddress();
