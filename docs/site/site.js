// What the theme leaves out: its search is a dialogue with a name, and what scrolls sideways can be reached by keyboard.
document.addEventListener('DOMContentLoaded', () => {
  document.querySelector('.md-search')?.setAttribute('aria-label', 'Search');
  document.querySelectorAll('.md-code__nav').forEach((one, k) => one.setAttribute('aria-label', `Code ${k + 1}`));
  const reachable = () => document.querySelectorAll('pre > code, .md-typeset__scrollwrap').forEach(one => {
    if (one.scrollWidth > one.clientWidth) one.tabIndex = 0;
  });
  reachable();
  addEventListener('load', reachable);
  addEventListener('resize', reachable);
});
