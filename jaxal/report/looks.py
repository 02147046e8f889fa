"""How the report looks, in a window and on paper, and what it does by itself: its style sheet, its script, and the page around them."""

import html

STYLE = """
:root{color-scheme:light dark;--ink:#1d2126;--soft:#5b6570;--line:#d9dee4;--back:#fff;--card:#f6f8fa;--good:#12705c;--bad:#a3312a}
@media(prefers-color-scheme:dark){:root{--ink:#e8eaed;--soft:#a3acb6;--line:#3a4149;--back:#15181c;--card:#1e2227;--good:#6fd3bc;--bad:#ff9a8f}}
*{box-sizing:border-box}
body{margin:0;background:var(--back);color:var(--ink);font:16px/1.5 system-ui,sans-serif}
main{max-width:96rem;margin:0 auto;padding:1rem}
h1{font-size:1.5rem;margin:.5rem 0;overflow-wrap:anywhere}
h2{font-size:1.2rem;margin:2rem 0 .5rem;border-top:1px solid var(--line);padding-top:1rem;overflow-wrap:anywhere}
h3{font-size:1rem;margin:1.2rem 0 .3rem;overflow-wrap:anywhere}
h4{font-size:.85rem;font-weight:600;margin:0 0 .25rem}
p,dd{color:var(--soft);max-width:60rem;overflow-wrap:anywhere}
.lead{color:var(--ink);font-size:1.1rem;border-left:4px solid var(--good);padding:.1rem 0 .1rem .8rem;margin:.8rem 0;max-width:60rem;overflow-wrap:anywhere}
ul.lead{list-style:none}
ul.lead li+li{margin-top:.6rem}
details{margin:.3rem 0}
details summary{cursor:pointer;padding:.3rem 0}
dl{margin:.2rem 0 .6rem;font-size:.875rem;display:grid;grid-template-columns:minmax(5rem,max-content) 1fr;gap:.15rem .8rem;max-width:60rem}
dt{font-weight:600}
dd{margin:0}
.scroll{overflow-x:auto}
table{border-collapse:collapse;font-size:.875rem;font-variant-numeric:tabular-nums}
th,td{padding:.35rem .5rem;text-align:right;vertical-align:top;border-bottom:1px solid var(--line)}
thead th{vertical-align:bottom;max-width:12rem}
th:first-child{text-align:left;position:sticky;left:0;background:var(--back);overflow-wrap:anywhere;min-width:7.5rem;max-width:16rem}
tbody th{font-weight:400}
th button{all:unset;cursor:pointer;font-weight:600}
th button:focus-visible,.scroll:focus-visible{outline:2px solid var(--good)}
th[aria-sort=ascending] button::after{content:" ▲"}
th[aria-sort=descending] button::after{content:" ▼"}
td small{display:block;color:var(--soft);line-height:1.3;font-weight:400}
td:has(small+small){min-width:6.5rem}
td.better,td.worse{font-weight:600}
td.better{color:var(--good)}
td.worse{color:var(--bad)}
td.better::before{content:"▲\\a0"}
td.worse::before{content:"▼\\a0"}
.asked th:last-child,.asked td:last-child{text-align:left;overflow-wrap:anywhere;min-width:14rem}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,22rem),1fr));gap:1rem;align-items:start}
.charts.alike{grid-template-columns:repeat(auto-fill,minmax(min(100%,22rem),1fr))}
.charts+details{margin-top:1rem}
figure{margin:0;background:var(--card);border-radius:.5rem;padding:.5rem;break-inside:avoid}
figure svg{width:100%;height:auto;display:block;max-width:40rem}
.cases{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,18rem),1fr));gap:1rem}
.cases img{width:100%;image-rendering:pixelated;border-radius:.25rem;background:#000}
figcaption{font-size:.8rem;color:var(--soft);overflow-wrap:anywhere}
.keys{display:flex;flex-wrap:wrap;gap:.1rem .9rem;font-size:.85rem;margin:.3rem 0 .6rem}
.keys label{display:inline-flex;align-items:center;gap:.35rem;cursor:pointer}
.keys svg{width:2.2rem;height:.8rem;flex:none}
.keys span{overflow-wrap:anywhere;min-width:0}
@media print{
@page{margin:12mm}
@page wide{size:landscape}
.wide,h3:has(+p+.wide),h3+p:has(+.wide){page:wide}
:root{color-scheme:light;--ink:#000;--soft:#333;--line:#bbb;--back:#fff;--card:#fff;--good:#12705c;--bad:#a3312a}
body{font-size:10pt;line-height:1.35}
main{max-width:none;padding:0}
details{display:block}
details::details-content{content-visibility:visible;block-size:auto}
.scroll{overflow:visible}
table{width:100%;font-size:7pt}
th,td{padding:.12rem .2rem}
dl{font-size:7pt;gap:.05rem .6rem}
td,td:has(small+small),.asked td:last-child{min-width:0}
th,th:first-child{min-width:0;max-width:none;overflow-wrap:anywhere}
th:first-child{position:static;min-width:3.5rem}
.measures th:first-child{min-width:4.5rem}
.asked th{overflow-wrap:normal}
h4{font-size:8pt}
thead,tr,figure,.lead{break-inside:avoid}
h2,h3,h4,summary,h3+p,.keys{break-after:avoid}
.charts,.charts.alike{grid-template-columns:1fr 1fr;gap:.4rem}
.keys input{display:none}
th button{display:contents} /* Chromium repeats no head with a button on the next sheet */
}
"""

SCRIPT = """
for(const table of document.querySelectorAll("table.sortable")){table.querySelectorAll("thead th button").forEach((button,column)=>{button.addEventListener("click",()=>{
const head=button.closest("th"),up=head.getAttribute("aria-sort")!=="ascending",body=table.tBodies[0],rows=[...body.rows];
for(const other of table.querySelectorAll("th"))other.removeAttribute("aria-sort");head.setAttribute("aria-sort",up?"ascending":"descending");
const value=row=>{const text=row.cells[column].dataset.value,number=Number(text);return isNaN(number)?text:number};
rows.sort((a,b)=>{const x=value(a),y=value(b),less=x<y?-1:x>y?1:0;return up?less:-less});body.append(...rows)})})}
for(const box of document.querySelectorAll(".keys input"))box.addEventListener("change",()=>{for(const line of box.closest("section").querySelectorAll(`[id="${box.dataset.line}"]`))line.style.display=box.checked?"":"none"});
addEventListener("beforeprint",()=>document.querySelectorAll("details").forEach(part=>part.open=true));
"""


def document(title: str, body: str) -> str:
    """A page that needs nothing else; `title` is escaped here, `body` is HTML."""
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">'
        f'<title>{html.escape(title)}</title><link rel="icon" href="data:,"><style>{STYLE}</style></head>'
        f"<body><main>{body}</main><script>{SCRIPT}</script></body></html>\n"
    )
