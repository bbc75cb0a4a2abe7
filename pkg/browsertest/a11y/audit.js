// Looks for barriers on the page that it runs in. It gives an object: audit() says what is wrong with the page as it is, and with
// each thing that takes the focus; walk, step and arrived follow somebody who goes through it with the Tab key.
(() => {
  const found = []
  const report = (rule, element, problem) => found.push({rule, element: element ? place(element) : '', problem})
  const all = (selector, within = document) => [...within.querySelectorAll(selector)]
  const words = text => text.replace(/\s+/g, ' ').trim()

  // place names an element so that a person finds it: from the nearest id down.
  function place(element) {
    const steps = []
    for (let e = element; e && e !== document.documentElement; e = e.parentElement) {
      if (e.id) { steps.unshift('#' + e.id); break }
      const alike = e.parentElement ? [...e.parentElement.children].filter(c => c.localName === e.localName) : []
      steps.unshift(e.localName + (alike.length > 1 ? `:nth-of-type(${alike.indexOf(e) + 1})` : ''))
    }
    const text = words(element.textContent).slice(0, 40)
    return steps.slice(-4).join(' > ') + (text ? ` “${text}”` : '')
  }

  const visible = e => e.checkVisibility({opacityProperty: true, visibilityProperty: true, contentVisibilityAuto: true})
  const hidden = e => e.closest('[aria-hidden="true"], [inert]') !== null
  const heard = e => visible(e) && !hidden(e)
  const named = e => words(e.computedName) !== ''

  // ---- the document ----

  function documentRules() {
    const root = document.documentElement
    if (!/^[a-z]{2,3}(-[A-Za-z0-9]+)*$/.test(root.lang)) report('language', root, `the page's language is "${root.lang}"`)
    if (!words(document.title)) report('title', null, 'the page has no title')
    const zoom = document.querySelector('meta[name=viewport]')?.content ?? ''
    if (/user-scalable\s*=\s*(no|0)|maximum-scale\s*=\s*[01](\.|\b)/.test(zoom)) report('zoom', null, 'the page forbids to be enlarged')
    for (const [id, there] of Object.entries(Object.groupBy(all('[id]'), e => e.id))) {
      if (there.length > 1) report('duplicate id', there[1], `the id ${id} is there ${there.length} times`)
    }
  }

  function headings() {
    const there = all('h1, h2, h3, h4, h5, h6').filter(heard)
    const first = there.filter(h => h.localName === 'h1')
    if (first.length !== 1) report('one h1', first[1], `the page has ${first.length} headings of level 1`)
    let above = 0
    for (const h of there) {
      const level = Number(h.localName[1])
      if (!named(h)) report('heading', h, 'the heading is empty')
      if (level > above + 1) report('heading order', h, above ? `level ${level} follows level ${above}` : `the first heading is of level ${level}`)
      above = level
    }
  }

  const regions = ['header, nav, main, footer, aside, search', ...['banner', 'navigation', 'main', 'contentinfo', 'complementary', 'search', 'region'].map(r => `[role=${r}]`),
    ...['section', 'form'].flatMap(e => [`${e}[aria-label]`, `${e}[aria-labelledby]`])].join()

  function landmarks() {
    const mains = all('main, [role=main]').filter(heard)
    if (mains.length !== 1) report('one main', mains[1], `the page has ${mains.length} main landmarks`)
    const navs = all('nav, [role=navigation]').filter(heard)
    const names = navs.map(n => words(n.computedName))
    navs.forEach((n, i) => {
      if (navs.length > 1 && (!names[i] || names.indexOf(names[i]) !== i)) report('navigation name', n, 'several navigations need a name each')
    })
    for (const {node, parent} of texts()) {
      if (!parent.closest(regions) && !hidden(parent) && !parent.closest('a[href^="#"]')) {
        report('landmark', parent, `“${words(node.data).slice(0, 40)}” is outside of every landmark`)
      }
    }
  }

  function skipLink() {
    const link = all(focusables).find(reachable)
    const target = link?.getAttribute('href')
    if (!target?.startsWith('#') || !document.getElementById(target.slice(1))) report('skip link', link, 'the first thing to reach is no link that skips to the content')
  }

  // ---- names ----

  function names() {
    for (const e of all('input:not([type=hidden]), select, textarea').filter(heard)) {
      if (['submit', 'button', 'reset', 'image'].includes(e.type)) { if (!named(e)) report('button name', e, 'the button has no name'); continue }
      const label = e.labels?.length || e.getAttribute('aria-label') || e.getAttribute('aria-labelledby')
      if (!label || !named(e)) report('label', e, `the field ${e.name || e.id} has no label`)
    }
    for (const e of all('button, [role=button], summary').filter(heard)) if (!named(e)) report('button name', e, 'the button has no name')
    for (const e of all('a[href], [role=link]').filter(heard)) if (!named(e)) report('link name', e, `the link to ${e.getAttribute('href')} has no name`)
    for (const e of all('img').filter(heard)) if (!e.hasAttribute('alt')) report('image name', e, 'the image has no alternative text')
    for (const e of all('svg').filter(e => heard(e) && !e.parentElement.closest('svg, [role=img]'))) {
      if (e.getAttribute('role') !== 'img') report('image name', e, 'the drawing is neither hidden from screen readers nor of role img')
      else if (!named(e)) report('image name', e, 'the drawing has no name')
    }
    for (const e of all('[role=img]:not(svg), [role=region], section[aria-label], iframe, [role=dialog], dialog[open]').filter(heard)) {
      if (!named(e)) report('name', e, `the ${e.computedRole} has no name`)
    }
    for (const e of all('fieldset').filter(heard)) if (!named(e)) report('group name', e, 'the group of fields has no legend')
    for (const [name, radios] of Object.entries(Object.groupBy(all('input[type=radio]').filter(heard), e => e.name))) {
      if (radios.length > 1 && !radios[0].closest('fieldset, [role=radiogroup]')) report('group name', radios[0], `the choices ${name} are in no group with a name`)
    }
  }

  function tables() {
    for (const t of all('table').filter(t => heard(t) && !['presentation', 'none'].includes(t.getAttribute('role')))) {
      if (!words(t.caption?.textContent ?? '')) report('table caption', t, 'the table has no caption')
      const heads = all('th', t)
      if (!heads.length) report('table head', t, 'the table has no head')
      for (const h of heads) if (!['col', 'row', 'colgroup', 'rowgroup'].includes(h.getAttribute('scope'))) report('table scope', h, 'the head cell does not say of what')
    }
    for (const l of all('ul, ol')) for (const c of l.children) if (!['li', 'script', 'template'].includes(c.localName)) report('list', c, `a list has a ${c.localName} in it`)
    for (const i of all('li')) if (!i.parentElement.matches('ul, ol, menu')) report('list', i, 'the item is in no list')
  }

  const references = [...['labelledby', 'describedby', 'controls', 'owns', 'details', 'errormessage', 'activedescendant', 'flowto'].map(r => 'aria-' + r), 'for', 'headers', 'list', 'form']

  function pointers() {
    for (const attribute of references) {
      for (const e of all(`[${attribute}]`)) {
        for (const id of e.getAttribute(attribute).split(/\s+/).filter(Boolean)) {
          if (!document.getElementById(id)) report('reference', e, `${attribute} names ${id}, which is not there`)
        }
      }
    }
    for (const e of all('a[href^="#"]')) {
      const id = decodeURIComponent(e.getAttribute('href').slice(1))
      if (id && !document.getElementById(id)) report('reference', e, `it leads to #${id}, which is not there`)
    }
    for (const e of all('[aria-live]')) if (!['polite', 'off'].includes(e.ariaLive)) report('live region', e, `what changes there is announced as ${e.ariaLive}`)
  }

  // ---- colours ----

  const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true})
  const known = new Map()

  // rgba reads any colour that styles may name, with what the browser itself makes of it.
  function rgba(colour) {
    if (!known.has(colour)) {
      canvas.clearRect(0, 0, 1, 1)
      canvas.fillStyle = colour
      canvas.fillRect(0, 0, 1, 1)
      const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data
      known.set(colour, [r, g, b, a / 255])
    }
    return known.get(colour)
  }

  const over = ([r, g, b, a], below) => [r, g, b].map((c, i) => c * a + below[i] * (1 - a)).concat(1)

  function luminance(colour) {
    const [r, g, b] = colour.map(c => c / 255).map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b
  }

  function contrast(x, y) {
    const [light, dark] = [luminance(x), luminance(y)].sort((a, b) => b - a)
    return (light + 0.05) / (dark + 0.05)
  }

  // sheet is the colour below everything, which follows the theme where the page says that it knows both.
  function sheet() {
    const probe = document.createElement('div')
    probe.style.backgroundColor = 'Canvas'
    document.body.append(probe)
    const colour = rgba(getComputedStyle(probe).backgroundColor)
    probe.remove()
    return colour
  }

  // ground is what is painted behind a point of an element: the backgrounds of it and of all around it, and in a drawing the shapes
  // that were drawn before it. null is a picture.
  function ground(element, x, y) {
    const layers = []
    for (let e = element; e; e = e.parentElement) {
      const style = getComputedStyle(e)
      if (style.backgroundImage !== 'none') return null
      layers.unshift(rgba(style.backgroundColor))
      if (e.localName === 'svg') layers.splice(1, 0, ...shapes(e, element, x, y))
      if (rgba(style.backgroundColor)[3] === 1) break
    }
    return layers.reduce((below, layer) => over(layer, below), sheet())
  }

  function shapes(svg, before, x, y) {
    return all('rect, circle, ellipse, path, polygon', svg)
      .filter(s => !s.closest('defs, clipPath, mask') && s.compareDocumentPosition(before) & Node.DOCUMENT_POSITION_FOLLOWING && visible(s))
      .filter(s => { const b = s.getBoundingClientRect(); return b.left <= x && x <= b.right && b.top <= y && y <= b.bottom })
      .map(s => { const style = getComputedStyle(s); return style.fill === 'none' ? [0, 0, 0, 0] : faded(rgba(style.fill), style.fillOpacity * style.opacity) })
  }

  const faded = ([r, g, b, a], opacity) => [r, g, b, a * opacity]

  function opacity(element) {
    let o = 1
    for (let e = element; e; e = e.parentElement) o *= getComputedStyle(e).opacity
    return o
  }

  // texts are all pieces of text within an element that can be seen somewhere on the page.
  function* texts(within = document.body) {
    const walker = document.createTreeWalker(within, NodeFilter.SHOW_TEXT)
    for (let node = walker.nextNode(); node; node = walker.nextNode()) {
      const parent = node.parentElement
      if (!words(node.data) || !visible(parent) || parent.closest('script, style, noscript, title, desc, option')) continue
      const range = document.createRange()
      range.selectNodeContents(node)
      const box = range.getBoundingClientRect()
      if (box.width > 1 && box.height > 1 && onPage(box) && !clipped(parent)) yield {node, parent, box}
    }
  }

  const onPage = box => box.right + scrollX > 0 && box.bottom + scrollY > 0
  const clipped = e => { for (; e; e = e.parentElement) { const s = getComputedStyle(e); if (s.clip === 'rect(0px, 0px, 0px, 0px)' || s.clipPath.startsWith('inset(50%') || s.clipPath.startsWith('inset(100%')) return true } return false }

  function legible(element, box, text) {
    const style = getComputedStyle(element)
    const size = parseFloat(style.fontSize), large = size >= 24 || size >= 18.66 && style.fontWeight >= 700
    const behind = ground(element, box.left + box.width / 2, box.top + box.height / 2)
    if (!behind) return report('contrast', element, `“${text}” stands on a picture`)
    const ink = element.closest('svg') ? faded(rgba(style.fill), style.fillOpacity) : rgba(style.color)
    const ratio = contrast(over(faded(ink, opacity(element)), behind), behind)
    const least = large ? 3 : 4.5
    if (ratio < least) report('contrast', element, `“${text}” has a contrast of ${ratio.toFixed(2)}, at least ${least} is needed`)
  }

  const filled = 'input:not([type=checkbox], [type=radio], [type=hidden], [type=range], [type=color]), select, textarea'

  function colours() {
    for (const {node, parent, box} of texts()) {
      if (!parent.closest(':disabled, [aria-disabled=true]')) legible(parent, box, words(node.data).slice(0, 40))
    }
    for (const e of all(filled).filter(e => visible(e) && !e.disabled)) {
      legible(e, e.getBoundingClientRect(), words(e.localName === 'select' ? e.selectedOptions[0]?.text ?? '' : e.value).slice(0, 40))
      if (e.placeholder) {
        const ink = getComputedStyle(e, '::placeholder'), box = e.getBoundingClientRect()
        const behind = ground(e, box.left + 1, box.top + 1)
        const ratio = behind && contrast(over(faded(rgba(ink.color), ink.opacity), behind), behind)
        if (!behind || ratio < 4.5) report('contrast', e, `the placeholder “${e.placeholder}” has a contrast of ${ratio?.toFixed(2)}`)
      }
    }
  }

  // ---- the size of things ----

  function sizes() {
    const root = document.documentElement
    if (root.scrollWidth > root.clientWidth) report('sideways', widest(root.clientWidth), `the page is ${root.scrollWidth} px wide in a window of ${root.clientWidth}`)
    for (const e of all('*')) {
      const style = getComputedStyle(e)
      const scrolls = ['auto', 'scroll'].includes(style.overflowX) && e.scrollWidth > e.clientWidth + 1 || ['auto', 'scroll'].includes(style.overflowY) && e.scrollHeight > e.clientHeight + 1
      if (!scrolls || !heard(e) || e === root || e === document.body || e.matches('textarea, select, input')) continue
      if (e.tabIndex < 0 && !all(focusables, e).some(reachable)) report('scrolling', e, 'it can be scrolled, and not by keyboard')
      if (e.tabIndex >= 0 && !named(e)) report('scrolling', e, 'it can be scrolled, and has no name')
    }
    targets()
  }

  function widest(width) {
    return all('body *').filter(e => e.getBoundingClientRect().right > width + 0.5 && !inScroller(e)).pop()
  }
  const inScroller = e => { for (e = e.parentElement; e && e !== document.body; e = e.parentElement) if (getComputedStyle(e).overflowX !== 'visible') return true; return false }

  const least = 24 // px, of WCAG 2.2 AA

  // Small targets are fine in a sentence, and where a finger that misses hits nothing else: a circle of 24 px around the middle
  // touches no other target, nor the circle of another small one.
  function targets() {
    const there = all('a[href], button, summary, input[type=submit], input[type=button], input[type=checkbox], input[type=radio], [role=button], select').filter(e => heard(e) && !e.disabled)
      .map(e => ({e, box: area(e)})).filter(t => t.box.width > 1 && onPage(t.box))
    const small = t => t.box.width < least - 0.5 || t.box.height < least - 0.5
    for (const t of there.filter(small)) {
      if (inSentence(t.e)) continue
      const x = t.box.left + t.box.width / 2, y = t.box.top + t.box.height / 2
      const hit = there.find(o => o !== t && !o.e.contains(t.e) && !t.e.contains(o.e) && (small(o)
        ? Math.hypot(x - o.box.left - o.box.width / 2, y - o.box.top - o.box.height / 2) < least
        : Math.hypot(x - Math.max(o.box.left, Math.min(x, o.box.right)), y - Math.max(o.box.top, Math.min(y, o.box.bottom))) < least / 2))
      if (hit) report('target size', t.e, `it is ${Math.round(t.box.width)} by ${Math.round(t.box.height)} px, and ${place(hit.e)} is too near`)
    }
  }

  // A field is hit by its label too.
  function area(e) {
    const box = e.getBoundingClientRect(), label = [...(e.labels ?? [])].find(l => l.contains(e))
    return label ? label.getBoundingClientRect() : box
  }

  function inSentence(e) {
    if (getComputedStyle(e).display !== 'inline') return false
    let block = e.parentElement
    while (block && getComputedStyle(block).display === 'inline') block = block.parentElement
    const links = all('a[href], button', block).map(l => words(l.textContent).length).reduce((a, b) => a + b, 0)
    return words(block.textContent).length > links + 3
  }

  // ---- the keyboard ----

  const focusables = 'a[href], button, input:not([type=hidden]), select, textarea, summary, [tabindex], [contenteditable], iframe, audio[controls], video[controls]'
  const reachable = e => e.tabIndex >= 0 && !e.disabled && e.checkVisibility({visibilityProperty: true}) && !e.closest('[inert]') && !otherChoice(e)
  // Of the choices of one question Tab reaches one.
  const otherChoice = e => {
    if (e.type !== 'radio') return false
    const group = all('input[type=radio]', e.form ?? document).filter(r => r.name === e.name && !r.disabled)
    return e !== (group.find(r => r.checked) ?? group[0])
  }

  function tabbing() {
    for (const e of all('[tabindex]')) if (e.tabIndex > 0) report('tab order', e, `tabindex ${e.tabIndex} takes it out of the order of the page`)
    for (const e of all(focusables).filter(reachable)) if (e.closest('[aria-hidden=true]')) report('hidden focus', e, 'it is hidden from screen readers and can be reached by keyboard')
    for (const e of all('[onclick]')) if (e.tabIndex < 0) report('keyboard', e, 'it can be clicked and not reached by keyboard')
  }

  const appearance = e => {
    const s = getComputedStyle(e), outlined = s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) > 0
    return [outlined && s.outlineColor + s.outlineWidth, s.boxShadow, s.backgroundColor, s.borderTopColor + s.borderTopWidth, s.borderBottomColor + s.borderBottomWidth].join()
  }

  // focus gives everything the focus once, as the keyboard does.
  function focus() {
    document.activeElement?.blur()
    const stops = all(focusables).filter(reachable), before = new Map(stops.map(e => [e, appearance(e)]))
    for (const e of stops) {
      e.focus({focusVisible: true})
      if (document.activeElement !== e) continue // it passes the focus on
      const box = e.getBoundingClientRect()
      if (box.width < 1 || box.bottom < 0 || box.right < 0 || box.top > innerHeight || box.left > innerWidth) report('focus visible', e, 'it has the focus and is not to be seen')
      if (before.get(e) === appearance(e)) report('focus visible', e, 'nothing shows that it has the focus')
      for (const {node, parent, box} of texts(e)) legible(parent, box, words(node.data).slice(0, 40))
    }
    document.activeElement?.blur()
    scrollTo(0, 0)
  }

  let expected, reached, previous

  // walk begins at the top of the page, as if it had just been opened, and gives how many stops there are.
  function walk() {
    found.length = 0
    expected = all(focusables).filter(reachable)
    reached = new Set()
    previous = null
    document.activeElement?.blur()
    const top = document.createElement('span')
    top.tabIndex = -1
    document.body.prepend(top)
    top.focus()
    top.remove()
    return expected.length
  }

  // step looks at where Tab has led, and says whether there is more to come.
  function step() {
    const e = document.activeElement
    if (!e || e === document.body || e === document.documentElement) return false
    if (e === previous) return true // a field of several parts
    if (reached.has(e)) return false // around once
    reached.add(e)
    if (previous) inOrder(previous, e)
    previous = e
    return true
  }

  // Reading goes downwards, and to the right; up it goes only for the next column.
  function inOrder(from, to) {
    if (!(from.compareDocumentPosition(to) & Node.DOCUMENT_POSITION_FOLLOWING)) return report('focus order', to, `it follows ${place(from)}, which stands behind it in the page`)
    const a = from.getBoundingClientRect(), b = to.getBoundingClientRect()
    const back = b.bottom <= a.top && b.left < a.right || b.right <= a.left && b.top < a.bottom && b.bottom > a.top && b.bottom <= a.bottom
    if (back && !skipping(from) && getComputedStyle(to).position !== 'fixed') report('focus order', to, `it follows ${place(from)}, and stands before it`)
  }
  const skipping = e => ['absolute', 'fixed'].includes(getComputedStyle(e).position)

  function arrived() {
    for (const e of expected) if (e.isConnected && !reached.has(e)) report('keyboard', e, 'Tab does not reach it')
    return found
  }

  function audit() {
    if (document.body.computedName === undefined) throw new Error('the browser does not tell accessible names: start it with --enable-blink-features=ComputedAccessibilityInfo')
    found.length = 0
    for (const rules of [documentRules, headings, landmarks, skipLink, names, tables, pointers, colours, sizes, tabbing, focus]) rules()
    return found
  }

  return {audit, walk, step, arrived}
})()
