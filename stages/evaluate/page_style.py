"""How the report looks, on a phone and on a desk, light and dark: its style sheet."""

STYLE = """
:root{color-scheme:light dark;--ink:#1d2127;--muted:#59616e;--line:#d5dae1;--page:#fff;--card:#f5f7fa;--accent:#0b62c4;
--bar:#a9cdf5;--other:#9a5b00;--right:#0a6b3d;--cost:208,94,0}
@media(prefers-color-scheme:dark){:root{--ink:#e8eaee;--muted:#a3acba;--line:#3a424e;--page:#14171c;--card:#1d2229;
--accent:#6fb1ff;--bar:#2c5586;--other:#f0b35a;--right:#6fd3a0;--cost:255,150,60}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);line-height:1.6;
font-family:system-ui,-apple-system,"Segoe UI","Hiragino Sans","Hiragino Kaku Gothic ProN","Noto Sans CJK JP",
"Noto Sans JP","Yu Gothic",Meiryo,"IPAexGothic",sans-serif}
main{max-width:62rem;margin:0 auto;padding:1.5rem 1rem 3rem}
h1{font-size:1.6rem;line-height:1.25;margin:0 0 .25rem}h2{font-size:1.2rem;margin:2.5rem 0 .5rem}
p{margin:.4rem 0}.lead,.note,caption,.small{color:var(--muted)}.note,.small{font-size:.9rem}
.cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(10.2rem,1fr));gap:.75rem;margin:1.25rem 0;padding:0}
.cards li{list-style:none;background:var(--card);border:1px solid var(--line);border-radius:.5rem;padding:.7rem .85rem}
.cards b{display:block;font-size:1.5rem;line-height:1.3;font-variant-numeric:tabular-nums}.cards span{display:block}
.wide{overflow-x:auto;margin:.75rem 0}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
caption{text-align:left;font-size:.9rem;padding-bottom:.4rem}
th,td{padding:.35rem .6rem;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap;
vertical-align:baseline}
th{font-weight:600}th:first-child,td:first-child{text-align:left;padding-left:0}
thead th{color:var(--muted);font-size:.9rem;white-space:normal}
td .small,th .small{display:block;font-weight:400;font-size:.8rem}
tbody th{font-weight:500}tr.group th{padding-top:1rem;color:var(--muted);font-size:.9rem;font-weight:600}
.meter{display:block;height:.4rem;margin-top:.25rem;background:var(--card);border-radius:.2rem;min-width:5rem}
.meter i{display:block;height:100%;background:var(--accent);border-radius:.2rem}
.plots{display:flex;flex-wrap:wrap;gap:1rem;margin:.75rem 0}.plots svg{font-size:12px;max-width:100%;height:auto}
.gaps{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,18.5rem),1fr));gap:.75rem;
margin:.75rem 0;padding:0}
.gaps>li{list-style:none;border:1px solid var(--line);border-radius:.5rem;padding:.7rem .85rem}
.gaps p{margin:0 0 .5rem;overflow-wrap:anywhere}.gaps mark,.cost span{border-radius:.15rem}
.gaps mark{background:var(--bar);color:var(--ink);padding:0 .3rem}
.words{display:grid;grid-template-columns:minmax(2.5rem,auto) 1fr auto;gap:.1rem .6rem;margin:0;align-items:center}
.words dt{font-weight:500}.words dd{margin:0;font-variant-numeric:tabular-nums;font-size:.85rem;color:var(--muted)}
.words .right{color:var(--right);font-weight:700}.words .bar{height:.65rem;background:var(--card);border-radius:.2rem}
.words .bar i{display:block;height:100%;min-width:1px;background:var(--accent);border-radius:.2rem}
.cost{font-size:1.1rem;line-height:2;overflow-wrap:anywhere}.cost span{padding:.1rem .05rem}
.key span{padding:.1rem .5rem;border-radius:.15rem}
details{margin:.75rem 0}summary{cursor:pointer;color:var(--accent)}dl.terms dt{font-weight:600;margin-top:.6rem}
dl.terms dd{margin:0}
"""
