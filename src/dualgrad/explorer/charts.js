// Charts on canvas. A chart keeps its points, so that the mouse can find the nearest.

const colours = {};

function readColours() {
  const style = getComputedStyle(document.documentElement);
  for (const name of ['page', 'panel', 'raised', 'line', 'line-strong', 'ink', 'soft', 'muted', 'faint', 'accent'])
    colours[name] = style.getPropertyValue(`--${name}`).trim();
  colours.dark = document.documentElement.dataset.theme === 'dark';
  colours.sans = style.getPropertyValue('--sans');
}

// Noise rate as colour: blue is 0.4 and red is 0.8, as in the figures; the rest lies on the way.
const RAMP = {
  light: [[0, '#3aa6a0'], [0.2, '#1f9a9a'], [0.4, '#0072b2'], [0.5, '#5a58b8'], [0.6, '#8a3fa0'], [0.7, '#b2356e'], [0.8, '#c8321f'], [1, '#7a1a0f']],
  dark: [[0, '#7fe0d8'], [0.2, '#52d0c6'], [0.4, '#4cabf0'], [0.5, '#8f94f5'], [0.6, '#bb82ee'], [0.7, '#ee7fb4'], [0.8, '#ff7a66'], [1, '#ffb3a6']],
};
// Levels without an order (after Okabe and Ito), and an ordered ramp for those that have one.
const SET = {
  light: ['#0072b2', '#d55e00', '#009e73', '#a8509a', '#b58900', '#3aa0d8', '#5b5f66', '#7a1f5c', '#2f6b3a'],
  dark: ['#4cabf0', '#ff9d5c', '#3fd0a0', '#e39ad6', '#e8c85a', '#8fd3ff', '#b4bac2', '#f287c5', '#8fd08f'],
};

const rgb = hex => [1, 3, 5].map(at => parseInt(hex.slice(at, at + 2), 16));

function along(stops, value) {
  let k = 1;
  while (k < stops.length - 1 && stops[k][0] < value) k++;
  const [[a, from], [b, to]] = [stops[k - 1], stops[k]];
  const share = Math.min(1, Math.max(0, (value - a) / (b - a)));
  const [x, y] = [rgb(from), rgb(to)];
  return `rgb(${x.map((one, c) => Math.round(one + share * (y[c] - one))).join()})`;
}

const etaColour = eta => eta === null ? colours.muted : along(colours.dark ? RAMP.dark : RAMP.light, eta);

// Levels in the order in which they are read: numbers by size.
const inOrder = levels => levels.every(one => typeof one === 'number') ? [...levels].sort((a, b) => a - b) : levels;

// Few levels have colours of their own, so that neighbours can be told apart; many numbers lie on a ramp.
function levelColour(levels, value) {
  const ordered = inOrder(levels), set = colours.dark ? SET.dark : SET.light;
  const place = ordered.indexOf(value);
  if (ordered.length <= set.length) return set[place];
  return along(colours.dark ? RAMP.dark : RAMP.light, place / (ordered.length - 1));
}

function surface(canvas) {
  const { clientWidth: width, clientHeight: height } = canvas;
  const scale = window.devicePixelRatio || 1;
  if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
  }
  const ctx = canvas.getContext('2d');
  ctx.setTransform(scale, 0, 0, scale, 0, 0);
  ctx.clearRect(0, 0, width, height);
  return { ctx, width, height };
}

function ticks(low, high, count, whole = false) {
  const raw = whole ? Math.max(1, (high - low) / count) : (high - low) / count;
  const base = 10 ** Math.floor(Math.log10(raw));
  const step = (whole ? [1, 2, 5, 10] : [1, 2, 2.5, 5, 10]).map(one => one * base).find(one => one >= raw - 1e-12);
  const found = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + 1e-9; k++) found.push(Number((k * step).toPrecision(10)));
  return found;
}

function axes(ctx, box, domain, { xs, ys, xTitle, yTitle, size = 11 }) {
  const place = placing(box, domain);
  ctx.font = `${size}px ${colours.sans}`;
  ctx.lineWidth = 1;
  ctx.fillStyle = colours.muted;
  ctx.textAlign = 'right';
  ctx.textBaseline = 'middle';
  for (const y of ys) {
    const at = Math.round(place.y(y)) + 0.5;
    ctx.strokeStyle = y === domain.y[0] ? colours['line-strong'] : colours.line;
    ctx.beginPath();
    ctx.moveTo(box.left, at);
    ctx.lineTo(box.right, at);
    ctx.stroke();
    ctx.fillText(tickText(y), box.left - 5, at);
  }
  ctx.textAlign = 'center';
  ctx.textBaseline = 'top';
  ctx.strokeStyle = colours['line-strong'];
  for (const x of xs) {
    const at = Math.round(place.x(x)) + 0.5;
    ctx.beginPath();
    ctx.moveTo(at, box.bottom);
    ctx.lineTo(at, box.bottom + 3);
    ctx.stroke();
    ctx.fillText(tickText(x), at, box.bottom + 5);
  }
  ctx.fillStyle = colours.soft;
  if (xTitle) {
    ctx.textAlign = 'right';
    ctx.fillText(xTitle, box.right, box.bottom + 20);
  }
  if (yTitle) {
    ctx.textAlign = 'left';
    ctx.textBaseline = 'alphabetic';
    ctx.fillText(yTitle, box.left - 34, box.top - 8);
  }
  return place;
}

const tickText = value => String(value).replace('-', '−');
const placing = (box, domain) => ({
  x: value => box.left + (value - domain.x[0]) / (domain.x[1] - domain.x[0]) * (box.right - box.left),
  y: value => box.bottom - (value - domain.y[0]) / (domain.y[1] - domain.y[0]) * (box.bottom - box.top),
});

// The last evaluation at each λ, stage by stage: what a run that changes λ shows against λ.
const endsOf = new Map();
function ends(i) {
  if (!endsOf.has(i)) {
    const stages = [];
    for (const stretch of trajectory(i)) {
      if (stretch.lam === null) continue; // evaluated without training
      const last = stages.at(-1);
      const point = { lam: stretch.lam, error: stretch.errors.at(-1) };
      if (last && last.stage === stretch.stage && last.branch === stretch.branch && last.direction === stretch.direction)
        last.points.push(point);
      else stages.push({ stage: stretch.stage, branch: stretch.branch, direction: stretch.direction, points: [point] });
    }
    endsOf.set(i, stages);
  }
  return endsOf.get(i);
}

const swept = i => runs.lam[i] === null;

// Runs against λ: a dot where a run has one λ, with a line through the means; a line where it goes through several.
function drawRuns(ctx, place, list, colourOf, { radius = 2, alpha = 0.8, lines = true, points = null, clip, labelOf = null } = {}) {
  if (clip) {
    ctx.save();
    ctx.beginPath();
    ctx.rect(clip.left - 4, clip.top - 4, clip.right - clip.left + 8, clip.bottom - clip.top + 8);
    ctx.clip();
  }
  const groups = new Map();
  for (const i of list) {
    if (!made(i)) continue;
    ctx.strokeStyle = ctx.fillStyle = colourOf(i);
    if (swept(i)) {
      ctx.globalAlpha = alpha * (list.length > 20 ? 0.35 : 0.75);
      ctx.lineWidth = radius > 2 ? 1.4 : 1;
      const stages = ends(i);
      const jumps = stages.every(stage => stage.points.length === 1);
      for (const stage of stages) {
        ctx.setLineDash(stage.direction === 'down' ? [3, 2] : []);
        ctx.beginPath();
        stage.points.forEach((point, k) => { ctx[k ? 'lineTo' : 'moveTo'](place.x(point.lam), place.y(point.error)); });
        ctx.stroke();
        for (const point of stage.points) {
          if (stage.points.length === 1 || radius > 2) dot(ctx, place.x(point.lam), place.y(point.error), radius > 2 ? 2.2 : 1.6);
          points?.push({ x: place.x(point.lam), y: place.y(point.error), i, text: `${stage.stage}: λ ${trim(point.lam)}, error ${point.error.toFixed(4)}` });
        }
      }
      ctx.setLineDash([]);
      if (jumps && stages.length > 1) {
        ctx.globalAlpha *= 0.6;
        for (const branch of new Set(stages.map(stage => stage.branch))) {
          ctx.beginPath();
          stages.filter(stage => stage.branch === branch)
            .forEach((stage, k) => { ctx[k ? 'lineTo' : 'moveTo'](place.x(stage.points[0].lam), place.y(stage.points[0].error)); });
          ctx.stroke();
        }
      }
    } else {
      ctx.globalAlpha = alpha;
      dot(ctx, place.x(runs.lam[i]), place.y(runs.error[i]), radius);
      points?.push({ x: place.x(runs.lam[i]), y: place.y(runs.error[i]), i, text: `λ ${trim(runs.lam[i])}, error ${runs.error[i].toFixed(4)}` });
      const key = `${runs.experiment[i]}|${D.eta.of[i]}|${runs.group[i]}`;
      if (!groups.has(key)) groups.set(key, { colour: colourOf(i), label: labelOf?.(i) ?? '', at: new Map() });
      const at = groups.get(key).at;
      if (!at.has(runs.lam[i])) at.set(runs.lam[i], []);
      at.get(runs.lam[i]).push(runs.error[i]);
    }
  }
  const labels = [];
  if (lines) for (const { colour, label, at } of groups.values()) {
    if (at.size < 2) continue;
    ctx.globalAlpha = 0.75;
    ctx.strokeStyle = colour;
    ctx.lineWidth = radius > 2 ? 1.6 : 1.1;
    ctx.beginPath();
    const means = [...at].sort(([a], [b]) => a - b).map(([lam, errors]) => [lam, errors.reduce((sum, one) => sum + one, 0) / errors.length]);
    means.forEach(([lam, mean], k) => { ctx[k ? 'lineTo' : 'moveTo'](place.x(lam), place.y(mean)); });
    ctx.stroke();
    if (label) labels.push({ label, colour, x: place.x(means.at(-1)[0]), y: place.y(means.at(-1)[1]) });
  }
  // Names at the ends of lines, moved apart where lines end together.
  labels.sort((a, b) => a.x - b.x || a.y - b.y);
  ctx.globalAlpha = 1;
  ctx.font = `11px ${colours.sans}`;
  ctx.textAlign = 'left';
  ctx.textBaseline = 'middle';
  labels.forEach((one, k) => {
    for (const other of labels.slice(0, k)) if (Math.abs(other.x - one.x) < 60 && one.y - other.y < 13) one.y = other.y + 13;
    ctx.lineWidth = 3;
    ctx.strokeStyle = colours.panel;
    ctx.strokeText(one.label, one.x + 7, one.y);
    ctx.fillStyle = one.colour;
    ctx.fillText(one.label, one.x + 7, one.y);
  });
  ctx.globalAlpha = 1;
  if (clip) ctx.restore();
}

function dot(ctx, x, y, radius) {
  ctx.beginPath();
  ctx.arc(x, y, radius, 0, 2 * Math.PI);
  ctx.fill();
}

function ring(ctx, x, y) {
  ctx.beginPath();
  ctx.arc(x, y, 6, 0, 2 * Math.PI);
  ctx.strokeStyle = colours.ink;
  ctx.lineWidth = 1.5;
  ctx.stroke();
}

// One of the small multiples: the same axes in all.
function drawPanel(canvas, one, fits) {
  const { ctx, width, height } = surface(canvas);
  const box = { left: 20, right: width - 6, top: 5, bottom: height - 15 };
  const place = axes(ctx, box, { x: [0, highest + 0.04], y: [0, 1] }, { xs: ticks(0, highest, 5), ys: [0, 0.5, 1], size: 9.5 });
  const inside = one.runs.filter(i => fits.has(i));
  if (!inside.some(made)) {
    ctx.font = `11px ${colours.sans}`;
    ctx.fillStyle = colours.muted;
    ctx.textAlign = 'center';
    ctx.textBaseline = 'middle';
    ctx.fillText('not made yet', (box.left + box.right) / 2, place.y(0.75));
  }
  if (inside.length < one.runs.length)
    drawRuns(ctx, place, one.runs.filter(i => !fits.has(i)), () => colours.faint, { radius: 1.6, alpha: 0.6, lines: false });
  drawRuns(ctx, place, inside, i => etaColour(runs.eta[i]), { radius: 1.8 });
}

// What the lines of an experiment differ in beside λ, noise rate, seed and replicate (Q1: the width): said at their ends.
function lineLabel(one) {
  const telling = Object.entries(D.factors).filter(([name, column]) => !['lambda', 'noise_rate', 'seed', 'replicate'].includes(name)
    && new Set(one.runs.map(i => column.of[i])).size > 1);
  if (!telling.length || one.runs.some(swept)) return null;
  const several = new Set(one.runs.map(i => runs.group[i])).size;
  if (several > 12) return null; // the legend tells them apart as far as that can be done
  return i => telling.filter(([, column]) => column.of[i] >= 0).map(([name, column]) => {
    const value = level(column, i);
    return typeof value === 'number' ? `${name.replaceAll('_', ' ')} ${trim(value)}` : String(value);
  }).join(', ');
}

// One experiment, large, on axes of its own.
function drawExperiment(canvas, one, fits, colourOf, marked) {
  const { ctx, width, height } = surface(canvas);
  const there = one.runs.filter(made);
  const labelOf = lineLabel(one);
  const longest = labelOf ? Math.max(0, ...there.map(i => labelOf(i).length)) : 0;
  const room = Math.min(longest * 6.4 + 14, width / 2);
  const box = { left: 42, right: width - room, top: 24, bottom: height - 36 };
  const lows = [], highs = [], tops = [0];
  for (const i of there) {
    const lams = swept(i) ? ends(i).flatMap(stage => stage.points.map(point => point.lam)) : [runs.lam[i]];
    if (!lams.length) continue;
    lows.push(Math.min(...lams));
    highs.push(Math.max(...lams));
    tops.push(swept(i) ? Math.max(...ends(i).flatMap(stage => stage.points.map(point => point.error))) : runs.error[i]);
  }
  let [low, high] = lows.length ? [Math.min(...lows), Math.max(...highs)] : [0, 0.7];
  const margin = Math.max(0.015, (high - low) * 0.04);
  [low, high] = [low - margin, high + margin];
  if (high - low < 0.1) [low, high] = [low - 0.05, high + 0.05];
  const domain = { x: [low, high], y: [0, Math.max(0.1, Math.min(1, 1.06 * Math.max(...tops)))] };
  const place = axes(ctx, box, domain, { xs: ticks(low, high, 9), ys: ticks(0, domain.y[1], 5), xTitle: 'λ', yTitle: 'test error' });
  if (!there.length) {
    ctx.fillStyle = colours.muted;
    ctx.textAlign = 'center';
    ctx.textBaseline = 'middle';
    ctx.fillText('not made yet', (box.left + box.right) / 2, (box.top + box.bottom) / 2);
  }
  const points = [];
  const inside = one.runs.filter(i => fits.has(i));
  drawRuns(ctx, place, one.runs.filter(i => !fits.has(i)), () => colours.faint, { radius: 2.6, alpha: 0.7, lines: false });
  drawRuns(ctx, place, inside, colourOf, { radius: 3, alpha: 0.85, points, labelOf });
  canvas.points = points;
  for (const point of points) if (point.i === marked) ring(ctx, point.x, point.y);
  return points.length;
}

// All runs of an experiment over their training.
function drawHistories(canvas, list, colourOf, marked) {
  const { ctx, width, height } = surface(canvas);
  const box = { left: 42, right: width - 14, top: 24, bottom: height - 36 };
  const histories = list.map(i => [i, timeline(i)]);
  const last = Math.max(1, ...histories.flatMap(([, stretches]) => stretches.map(stretch => stretch.x.at(-1))));
  let top = 0.1;
  for (const [, stretches] of histories) for (const { errors } of stretches) for (const error of errors) top = Math.max(top, error);
  const domain = { x: [0, last], y: [0, Math.min(1, 1.06 * top)] };
  const place = axes(ctx, box, domain, { xs: ticks(0, last, 9, true), ys: ticks(0, domain.y[1], 4), xTitle: 'epochs', yTitle: 'test error over training' });
  const points = [];
  const line = (i, stretches, width, alpha) => {
    ctx.strokeStyle = colourOf(i);
    ctx.globalAlpha = alpha;
    ctx.lineWidth = width;
    for (const branch of new Set(stretches.map(stretch => stretch.branch))) {
      ctx.beginPath();
      let first = true;
      for (const stretch of stretches.filter(one => one.branch === branch)) stretch.x.forEach((x, k) => {
        ctx[first ? 'moveTo' : 'lineTo'](place.x(x), place.y(stretch.errors[k]));
        first = false;
      });
      ctx.stroke();
    }
  };
  const alpha = Math.max(0.12, Math.min(0.8, 14 / Math.sqrt(histories.length * 12)));
  for (const [i, stretches] of histories) {
    line(i, stretches, 1.1, alpha);
    for (const stretch of stretches) for (const [k, x] of stretch.x.entries()) points.push({ x: place.x(x), y: place.y(stretch.errors[k]), i,
      text: `epoch ${x}, λ ${stretch.lam === null ? '–' : trim(stretch.lam, 4)}, error ${stretch.errors[k].toFixed(4)}` });
  }
  for (const [i, stretches] of histories) if (i === marked) {
    ctx.strokeStyle = colours.ink;
    line(i, stretches, 2.6, 1);
  }
  ctx.globalAlpha = 1;
  canvas.points = points;
}

// One run: error (with its siblings behind it), λ where it changes, and the cosine where it was recorded.
function drawRun(canvas, i, { againstLambda = false, withSiblings = true } = {}) {
  const { ctx, width, height } = surface(canvas);
  const stretches = timeline(i);
  const others = withSiblings ? siblings(i).slice(0, 60).map(timeline) : [];
  const lambdas = new Set(stretches.map(stretch => stretch.lam).filter(lam => lam !== null));
  const cosine = againstLambda ? [] : cosines(i);
  const strip = !againstLambda && lambdas.size > 1 ? 54 : 0;
  const second = cosine.length > 1 ? 96 : 0;
  const box = { left: 42, right: width - 14, top: 24, bottom: height - 36 - strip - second };
  const x = (stretch, k) => againstLambda ? stretch.lam : stretch.x[k];
  const all = [stretches, ...others].flat();
  const xs = againstLambda ? all.map(stretch => stretch.lam) : all.map(stretch => stretch.x.at(-1));
  const domain = {
    x: againstLambda ? [Math.min(...xs) - 0.02, Math.max(...xs) + 0.02] : [0, Math.max(1, ...xs)],
    y: [0, Math.min(1, 1.08 * Math.max(0.1, ...all.flatMap(stretch => stretch.errors)))],
  };
  const bottomTitle = againstLambda ? 'λ' : 'epochs';
  const place = axes(ctx, box, domain, { xs: strip || second ? [] : ticks(...domain.x, 9, !againstLambda), ys: ticks(0, domain.y[1], 5), xTitle: strip || second ? '' : bottomTitle, yTitle: 'test error' });
  marks(ctx, box, place, i, stretches, againstLambda);
  const path = (list, colour, width, alpha) => {
    ctx.strokeStyle = colour;
    ctx.lineWidth = width;
    ctx.globalAlpha = alpha;
    for (const points of againstLambda ? strokes(list) : polylines(list)) {
      ctx.setLineDash(points.dashed ? [5, 3] : []);
      ctx.beginPath();
      points.forEach(([at, error], k) => { ctx[k ? 'lineTo' : 'moveTo'](place.x(at), place.y(error)); });
      ctx.stroke();
    }
    ctx.setLineDash([]);
    ctx.globalAlpha = 1;
  };
  for (const other of others) path(other, colours.muted, 1, 0.28);
  const colour = etaColour(runs.eta[i]);
  path(stretches, colour, 2, 1);
  const points = [];
  const count = stretches.reduce((sum, stretch) => sum + stretch.errors.length, 0);
  ctx.fillStyle = colour;
  for (const stretch of stretches) stretch.errors.forEach((error, k) => {
    if (againstLambda && k < stretch.errors.length - 1) return;
    const at = { x: place.x(x(stretch, k)), y: place.y(error) };
    if (count <= 80) dot(ctx, at.x, at.y, count === 1 ? 4 : 2.4);
    points.push({ ...at, i, text: `${stretch.stage}${stretch.branch ? `, ${stretch.branch}` : ''}: epoch ${stretch.epochs[k]}, λ ${stretch.lam === null ? '–' : trim(stretch.lam, 4)}, error ${error.toFixed(4)}` });
  });
  const branches = [...new Set(stretches.map(stretch => stretch.branch))].filter(Boolean);
  if (branches.length > 1) {
    ctx.font = `11px ${colours.sans}`;
    ctx.textAlign = 'right';
    ctx.textBaseline = 'bottom';
    ctx.fillStyle = colours.soft;
    for (const branch of branches) {
      const end = stretches.filter(stretch => stretch.branch === branch).at(-1);
      ctx.fillText(branch, Math.min(box.right, place.x(x(end, end.errors.length - 1)) + 4), place.y(end.errors.at(-1)) - 6);
    }
  }
  if (strip) {
    const low = { left: box.left, right: box.right, top: box.bottom + 24, bottom: box.bottom + strip };
    const most = Math.max(...lambdas), least = Math.min(...lambdas);
    const range = { x: domain.x, y: [Math.max(0, least - 0.05), most + 0.05] };
    const at = axes(ctx, low, range, { xs: second ? [] : ticks(...domain.x, 9, true), ys: [least, most].map(one => Number(one.toFixed(3))), xTitle: second ? '' : bottomTitle, yTitle: 'λ' });
    ctx.strokeStyle = colours.soft;
    ctx.lineWidth = 1.5;
    for (const branch of new Set(stretches.map(stretch => stretch.branch))) {
      ctx.beginPath();
      let before = null;
      for (const stretch of stretches.filter(one => one.branch === branch)) {
        const begin = before ?? (stretch.stage === stretches[0].stage || stretch.base === 0 ? 0 : stretch.x[0]);
        ctx[before === null ? 'moveTo' : 'lineTo'](at.x(begin), at.y(stretch.lam));
        ctx.lineTo(at.x(stretch.x.at(-1)), at.y(stretch.lam));
        before = stretch.x.at(-1);
      }
      ctx.stroke();
    }
  }
  if (second) {
    const low = { left: box.left, right: box.right, top: height - 36 - second + 30, bottom: height - 36 };
    const values = cosine.map(([, value]) => value).filter(value => !Number.isNaN(value));
    const least = Math.min(-0.05, ...values), most = Math.max(0.05, ...values);
    const at = axes(ctx, low, { x: domain.x, y: [least, most] }, { xs: ticks(...domain.x, 9, true), ys: ticks(least, most, 3), xTitle: 'epochs', yTitle: 'cosine of structure and value gradient' });
    ctx.strokeStyle = colour;
    ctx.lineWidth = 1.5;
    ctx.beginPath();
    cosine.forEach(([epoch, value], k) => { if (!Number.isNaN(value)) ctx[k ? 'lineTo' : 'moveTo'](at.x(epoch), at.y(value)); });
    ctx.stroke();
    for (const [epoch, value] of cosine) if (!Number.isNaN(value)) points.push({ x: at.x(epoch), y: at.y(value), i, text: `epoch ${epoch}, cosine ${trim(value, 3)}` });
  }
  canvas.points = points;
}

// A run's lines: over epochs one per branch, over λ one per stage and direction.
const polylines = list => [...new Set(list.map(stretch => stretch.branch))]
  .map(branch => list.filter(stretch => stretch.branch === branch).flatMap(stretch => stretch.x.map((x, k) => [x, stretch.errors[k]])));

function strokes(list) {
  const found = [];
  let before = null;
  for (const stretch of list) {
    const point = [stretch.lam, stretch.errors.at(-1)];
    const same = before && before.stage === stretch.stage && before.branch === stretch.branch;
    if (!same || before.direction !== stretch.direction) {
      const turn = same ? [found.at(-1).at(-1)] : [];
      found.push(Object.assign(turn, { dashed: stretch.direction === 'down' }));
    }
    found.at(-1).push(point);
    before = stretch;
  }
  return found;
}

// Where stages begin and the learning rate falls.
function marks(ctx, box, place, i, stretches, againstLambda) {
  if (againstLambda) return;
  const upright = (x, dash, text, top) => {
    const at = Math.round(place.x(x)) + 0.5;
    ctx.setLineDash(dash);
    ctx.strokeStyle = colours['line-strong'];
    ctx.lineWidth = 1;
    ctx.beginPath();
    ctx.moveTo(at, box.top);
    ctx.lineTo(at, box.bottom);
    ctx.stroke();
    ctx.setLineDash([]);
    ctx.font = `10.5px ${colours.sans}`;
    ctx.fillStyle = colours.muted;
    ctx.textBaseline = 'top';
    const wide = ctx.measureText(text).width + 6;
    ctx.textAlign = at + wide > box.right ? 'right' : 'left';
    ctx.fillText(text, at + (at + wide > box.right ? -4 : 4), box.top + top);
  };
  const begun = new Map(); // stage -> where its session's clock is 0
  const before = new Map();
  for (const stretch of stretches) {
    if (!begun.has(stretch.stage)) begun.set(stretch.stage, stretch.base);
    const last = before.get(stretch.branch);
    if (last && last.stage !== stretch.stage) upright(last.x.at(-1), [], stretch.stage, 2);
    before.set(stretch.branch, stretch);
  }
  if (before.size > 1) return; // two branches have two schedules
  const end = Math.max(...stretches.map(stretch => stretch.x.at(-1)));
  const drops = new Set();
  for (const stage of part('stages', i)) {
    if (stage.schedule?.kind !== 'multistep' || !begun.has(stage.name)) continue;
    for (const milestone of stage.schedule.milestones) {
      const x = begun.get(stage.name) + milestone;
      if (x < end && !drops.has(x)) {
        drops.add(x);
        upright(x, [2, 3], `lr × ${trim(stage.schedule.gamma)}`, 15);
      }
    }
  }
}

// A run in a row: its errors in a few pixels.
function spark(i, width = 50, height = 20) {
  const stretches = timeline(i);
  if (!stretches.length) return '';
  const last = Math.max(1, ...stretches.map(stretch => stretch.x.at(-1)));
  const at = (x, error) => `${(1 + x / last * (width - 5)).toFixed(1)} ${(height - 2 - error * (height - 4)).toFixed(1)}`;
  let paths = '';
  for (const branch of new Set(stretches.map(stretch => stretch.branch))) {
    const points = stretches.filter(one => one.branch === branch).flatMap(stretch => stretch.x.map((x, k) => at(x, stretch.errors[k])));
    const thin = points.length > 90 ? points.filter((_, k) => k % Math.ceil(points.length / 90) === 0 || k === points.length - 1) : points;
    if (thin.length > 1) paths = markup`${paths}<path d="M${thin.join('L')}"/>`;
    const [x, y] = points.at(-1).split(' ');
    paths = markup`${paths}<circle cx="${x}" cy="${y}" r="1.8"/>`;
  }
  return markup`<svg width="${width}" height="${height}" aria-hidden="true" style="--c:${etaColour(runs.eta[i])}">${paths}</svg>`;
}

function nearest(canvas, event, within = 14) {
  const box = canvas.getBoundingClientRect();
  const x = event.clientX - box.x, y = event.clientY - box.y;
  let best = null, least = within * within;
  for (const point of canvas.points ?? []) {
    const far = (point.x - x) ** 2 + (point.y - y) ** 2;
    if (far < least) [best, least] = [point, far];
  }
  return best;
}
