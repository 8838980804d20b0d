// A resolved run in words and tables, and as YAML.

const trim = (value, digits = 6) => typeof value === 'number' ? String(Number(value.toPrecision(digits))).replace('-', '−') : String(value);
const plural = (count, noun) => `${trim(count)} ${noun}${count === 1 ? '' : 's'}`;

function resolved(i) {
  const spec = { experiment: experimentOf(i).name, run: D.names[i], series: experimentOf(i).series, edition: D.edition.name,
    factors: Object.fromEntries(factorsOf(i)), seed: D.base_seed[i] < 0 ? null : D.base_seed[i] };
  for (const key in D.protocols) spec[key] = part(key, i);
  return spec;
}

const runLink = id => byId.has(id) ? markup`<a href="#run=${encodeURIComponent(id)}">${id}</a>` : markup`<code>${id}</code>`;

function options(one, skip = ['name']) {
  return Object.entries(one).filter(([key, value]) => !skip.includes(key) && value !== null)
    .map(([key, value]) => `${key.replaceAll('_', ' ')} ${Array.isArray(value) ? value.join('–') : trim(value)}`).join(', ');
}

function seedText(rule, spec) {
  if (!rule) return '';
  if (rule.seed !== undefined) return `drawn with the fixed seed ${rule.seed}`;
  if (rule.seed_offset === undefined) return '';
  const total = spec.seed === null ? '' : ` = ${spec.seed + rule.seed_offset}`;
  return rule.seed_offset ? `drawn with seed + ${rule.seed_offset}${total}` : `drawn with the run's seed`;
}

// [label, markup] pairs: what a reader asks first.
function inWords(spec) {
  const { task, noise, value } = spec;
  const rows = [];
  const add = (label, ...parts) => rows.push([label, joined(parts.filter(Boolean), '; ')]);
  add('Task', `${spec.data?.title ?? task.dataset}, ${plural(task.classes, 'class').replace('classs', 'classes')}`,
    task.synthetic && 'synthetic data of the same shape',
    task.augment ? `random crop (padding ${task.augment.crop_padding})${task.augment.flip ? ' and flip' : ''}` : task.kind === 'image' && 'no augmentation',
    task.validation && `${trim(100 * task.validation.share)} % of the training examples are set aside for validation`,
    task.subset && `${task.subset.toLocaleString('en')} noisy examples`, task.max_length && `at most ${task.max_length} tokens`);
  add('Network', markup`<code>${task.model.name}</code>${options(task.model, ['name', 'body_from']) ? `: ${options(task.model, ['name', 'body_from'])}` : ''}`,
    task.model.body_from && markup`body from ${runLink(task.model.body_from)}`);
  add('Batches', `${task.batch_size} examples`, task.steps_per_epoch ? `an epoch is ${plural(task.steps_per_epoch, 'step')}` : 'an epoch is one pass',
    task.drop_last ? 'an incomplete last batch is left out' : '');
  const kinds = { symmetric: 'symmetric', asymmetric_bernoulli: 'asymmetric, each label by itself', asymmetric_exact: 'asymmetric, exact numbers', transition: 'class-dependent, each label by itself', text_pool: 'labels of the text pool flipped' };
  const file = one => markup`the file <code>${one.path}</code>${one.column ? ` (${one.column})` : ''}`;
  if (noise.kind === 'file') add('Label noise', markup`the labels of ${file(noise)}`);
  else add('Label noise', `${kinds[noise.kind] ?? noise.kind}${noise.rate === undefined ? '' : `, η = ${trim(noise.rate)}`}`, seedText(noise, spec),
    noise.map && `classes ${noise.map.map(([a, b]) => `${a} → ${b}`).join(', ')}`);
  if (spec.method === 'ce') {
    add('Update', 'plain cross-entropy on the noisy labels: no value gradient');
  } else {
    const share = value.trusted && `the trusted ${trim(100 * value.trusted.ratio)} %`;
    const listed = value.trusted?.path && markup`the examples that ${file(value.trusted)} lists`;
    const labels = { clean: 'true labels of the whole batch', random: 'labels drawn at random', shifted: 'labels shifted by one class',
      trusted: markup`true labels of ${listed || share} in the batch`, trusted_batches: markup`batches of their own from ${listed || share}` };
    const made = value.synthetic && `a direction at cosine ${trim(value.synthetic.cosine)} to the ${value.synthetic.about === 'clean' ? 'cached clean' : 'structure'} gradient`;
    add('Value signal', made || labels[value.labels] || value.labels, value.sign === -1 && 'negated',
      seedText(value.labels === 'random' ? value.random : value.trusted, spec),
      value.period === 1 ? 'computed in every step' : `computed every ${value.period} steps and kept in between`);
    if (spec.method.aggregator) add('Update', markup`both gradients combined by TorchJD's <code>${spec.method.aggregator}</code>`, options(spec.method, ['aggregator']));
    else add('Update', spec.method === 'lossmix' ? markup`losses mixed: (1 − λ)·L<sub>struct</sub> + λ·L<sub>value</sub>` : markup`(1 − λ)·ĝ<sub>struct</sub> + λ·ĝ<sub>value</sub>, both of unit length`,
      spec.renormalize && 'the sum brought back to unit length');
  }
  const scale = spec.lr_scale;
  add('Optimizer', `${spec.optimizer.name.toUpperCase()}: ${options(spec.optimizer)}`,
    scale && (typeof scale === 'number' ? `lr × ${trim(scale)}` : markup`lr × <code>${scale.field}</code> of ${runLink(scale.run)}`));
  add('Seed', spec.seed === null ? 'that of the checkpoint it starts from' : String(spec.seed));
  add('Arithmetic', spec.precision === 'published' ? 'as published' : spec.precision, spec.max_steps && `stages cut to ${plural(spec.max_steps, 'step')}`);
  if (spec.copy_of) add('Copy', markup`the same training as ${runLink(spec.copy_of)}${spec.prefix_epochs ? `, its first ${plural(spec.prefix_epochs, 'epoch')}` : ''}: trained once`);
  const needs = spec.needs.filter(id => id !== spec.copy_of);
  if (needs.length) add('Reads', listOf(needs));
  const users = neededBy(`${spec.experiment}/${spec.run}`);
  if (users.length) add('Read by', listOf(users));
  return rows;
}

function listOf(ids, most = 6) {
  const shown = joined(ids.slice(0, most).map(runLink), ', ');
  return ids.length > most ? markup`${shown} and ${ids.length - most} more` : shown;
}

function startText(start) {
  switch (start.kind) {
    case 'fresh': return 'new weights';
    case 'continue': return 'goes on';
    case 'stage': return `weights of ${start.stage}`;
    case 'checkpoint': return markup`weights of ${runLink(start.run)}`;
    case 'select': {
      const from = start.runs[0]?.split('/')[0] ?? '';
      const range = [start.min !== null && `error ≥ ${trim(start.min)}`, start.max !== null && `error < ${trim(start.max)}`].filter(Boolean).join(', ');
      return `no. ${start.index + 1} of ${from}${range ? ` with ${range}` : ''}${start.order === 'ascending' ? ', lowest first' : ''}`;
    }
    default: return start.kind;
  }
}

// Segments, shortened: a ladder is its ends, its step and its hold.
function lambdaText(segments) {
  const length = segment => segment.epochs ? plural(segment.epochs, 'epoch') : plural(segment.steps, 'step');
  const pieces = [];
  for (let a = 0; a < segments.length;) {
    let b = a;
    const alike = k => length(segments[k]) === length(segments[a]) && segments[k].direction === segments[a].direction;
    while (b + 1 < segments.length && alike(b + 1)) b++;
    if (a === b) pieces.push(`λ ${trim(segments[a].lambda)} for ${length(segments[a])}`);
    else {
      const steps = segments.slice(a, b).map((one, k) => segments[a + k + 1].lambda - one.lambda);
      const even = steps.every(step => Math.abs(step - steps[0]) < 1e-6) ? ` in steps of ${trim(Math.abs(steps[0]), 3)}` : ` in ${b - a} uneven steps`;
      pieces.push(`λ ${trim(segments[a].lambda, 4)} → ${trim(segments[b].lambda, 4)}${even}, ${length(segments[a])} each`);
    }
    a = b + 1;
  }
  return pieces.length ? pieces.join('; ') : 'no training';
}

function scheduleText(stage, optimizer) {
  const lr = stage.lr === null ? optimizer.lr : stage.lr;
  if (!stage.schedule) return 'goes on';
  switch (stage.schedule.kind) {
    case 'multistep': return `${trim(lr)}, × ${trim(stage.schedule.gamma)} after ${stage.schedule.milestones.join(', ')}`;
    case 'warmup_linear': return `${trim(lr)}, warm-up ${trim(100 * stage.schedule.warmup)} %, then linear to 0`;
    default: return trim(lr);
  }
}

function rulesText(stage) {
  const parts = [];
  const bounds = { max: '≤', below: '<', min: '≥' };
  if (stage.gate) for (const key in bounds) if (stage.gate[key] !== undefined)
    parts.push(`gate: error ${bounds[key]} ${trim(stage.gate[key])}${stage.gate.on_fail === 'stop' ? ', else it ends here' : ''}`);
  if (stage.stop) {
    const sign = { above: stage.stop.inclusive ? '≥' : '>', below: stage.stop.inclusive ? '≤' : '<' }[stage.stop.error];
    parts.push(`stops after ${plural(stage.stop.consecutive, stage.stop.unit)} with error ${sign} ${trim(stage.stop.threshold)}`);
  }
  return parts.join('; ');
}

function evaluateText(evaluate) {
  const before = evaluate.before ? 'before, ' : '';
  if (evaluate.at) return `${before}at each λ's end`;
  return `${before}${evaluate.every ? (evaluate.every === 1 ? 'every epoch' : `every ${evaluate.every} epochs`) : 'at the end'}`;
}

function stagesTable(spec) {
  const columns = [
    ['Stage', stage => markup`<code>${stage.name}</code>`],
    ['Starts from', stage => startText(stage.start)],
    ['λ', stage => lambdaText(stage.segments)],
    ['Learning rate', stage => scheduleText(stage, spec.optimizer)],
    ['Evaluated', stage => evaluateText(stage.evaluate)],
    ['Rules', rulesText],
  ].filter(([title, make]) => title !== 'Rules' || spec.stages.some(stage => make(stage)));
  const head = columns.map(([title]) => markup`<th scope="col">${title}</th>`);
  const body = spec.stages.map(stage => markup`<tr>${columns.map(([, make]) => markup`<td>${make(stage)}</td>`)}</tr>`);
  return markup`<table class="stages"><thead><tr>${head}</tr></thead><tbody>${body}</tbody></table>`;
}

// YAML as `dualgrad show` writes it: short collections on one line.
function yaml(value, indent = '', top = true) {
  const plain = one => one === null || typeof one !== 'object';
  const flat = one => plain(one) || (Array.isArray(one) ? one.every(flat) && !one.some(item => item && typeof item === 'object' && !Array.isArray(item))
    : Object.keys(one).length <= 6 && Object.values(one).every(plain));
  const word = one => {
    if (one === null) return 'null';
    if (typeof one !== 'string') return String(one);
    return /^[A-Za-z_+][\w +./-]*$/.test(one) && !/^(true|false|null|yes|no|on|off|y|n)$/i.test(one) ? one : `'${one.replaceAll("'", "''")}'`;
  };
  const line = one => Array.isArray(one) ? `[${one.map(line).join(', ')}]`
    : plain(one) ? word(one) : `{${Object.entries(one).map(([key, item]) => `${word(key)}: ${line(item)}`).join(', ')}}`;
  if (!top && flat(value)) return ` ${line(value)}\n`;
  const pieces = Array.isArray(value)
    ? value.map(item => {
        const text = flat(item) ? ` ${line(item)}\n` : yaml(item, `${indent}  `, true).replace(/^ +/, ' ');
        return `${indent}-${text}`;
      })
    : Object.entries(value).map(([key, item]) => `${indent}${word(key)}:${flat(item) ? ` ${line(item)}\n` : `\n${yaml(item, Array.isArray(item) ? indent : `${indent}  `, true)}`}`);
  return pieces.join('');
}
