"""The HTML of a mail, a Jinja2 template over `mail_page.Page`."""

from __future__ import annotations

# Outlook's engine is a word processor: it knows widths as attributes only, and no rounded corners.
TEMPLATE = """\
{% set font = "font-family:-apple-system,'Segoe UI',Roboto,Helvetica,Arial,sans-serif;" %}
{% set mono = "font-family:ui-monospace,Menlo,Consolas,'DejaVu Sans Mono',monospace;" %}
{% set soft = font ~ "font-size:13px;line-height:19px;color:#5a6676;" %}
{% set wrap = "word-break:break-word;overflow-wrap:anywhere;" %}
{% macro lines(text) %}
{% for line in text.split("\\n") %}{{ line }}{% if not loop.last %}<br>{% endif %}{% endfor %}
{% endmacro %}
{% macro number(name, text, colour) %}
<td valign="top" style="padding:0 32px 0 0;">
<div class="soft" style="{{ soft }}">{{ name }}</div>
<div style="{{ font }}font-size:28px;line-height:36px;font-weight:600;color:{{ colour }};">{{ text }}</div>
</td>
{% endmacro %}
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="supported-color-schemes" content="light dark">
<title>{{ page.title }}</title>
<style>
:root { color-scheme: light dark; supported-color-schemes: light dark; }
@media (prefers-color-scheme: dark) {
  .back { background-color: #0a0d12 !important; }
  .card { background-color: #11161e !important; border-color: #1e2632 !important; }
  .text { color: #e7ecf3 !important; }
  .soft { color: #8d99aa !important; }
  .code { background-color: #19202b !important; color: #b3bdcb !important; }
  .rule { border-color: #1e2632 !important; }
}
@media (max-width: 480px) {
  .pad { padding-left: 18px !important; padding-right: 18px !important; }
}
</style>
</head>
<body class="back" style="margin:0;padding:0;background-color:#f3f5f8;-webkit-text-size-adjust:100%;">
<div style="display:none;max-height:0;overflow:hidden;mso-hide:all;">{{ page.preview }}</div>
<table class="back" role="presentation" width="100%" cellpadding="0" cellspacing="0" border="0"
 bgcolor="#f3f5f8" style="background-color:#f3f5f8;">
<tr><td align="center" style="padding:24px 12px;">
<!--[if mso]><table role="presentation" width="600" cellpadding="0" cellspacing="0"><tr><td><![endif]-->
<table class="card" role="presentation" width="100%" cellpadding="0" cellspacing="0" border="0" bgcolor="#ffffff"
 style="max-width:600px;background-color:#ffffff;border:1px solid #e1e6ec;border-radius:8px;overflow:hidden;">
<tr><td height="6" bgcolor="{{ page.colour }}"
 style="height:6px;line-height:6px;font-size:0;background-color:{{ page.colour }};">&nbsp;</td></tr>
<tr><td class="pad" align="left" style="padding:22px 28px 26px;">

<table role="presentation" width="100%" cellpadding="0" cellspacing="0" border="0"><tr>
<td style="{{ font }}font-size:12px;line-height:18px;font-weight:700;letter-spacing:.06em;text-transform:uppercase;\
color:{{ page.colour }};">{{ page.standing }}</td>
<td class="soft" align="right" style="{{ soft }}white-space:nowrap;">{{ page.when }}</td>
</tr></table>
<h1 class="text" style="margin:6px 0 0;{{ font }}font-size:21px;line-height:28px;font-weight:650;color:#131b26;\
{{ wrap }}">{{ page.title }}</h1>
{% if page.late %}
<p class="code text" style="margin:14px 0 0;padding:9px 14px;{{ font }}font-size:14px;line-height:20px;\
background-color:#f3f5f8;color:#131b26;border-left:3px solid #c98500;">{{ page.late }}</p>
{% endif %}
{% if page.test %}
<p class="soft" style="margin:10px 0 0;{{ soft }}">This is a test: nothing is wrong.</p>
{% endif %}
{% if page.text %}
<p class="text" style="margin:12px 0 0;{{ font }}font-size:16px;line-height:24px;color:#131b26;{{ wrap }}">\
{{ lines(page.text) }}</p>
{% endif %}
{% if page.single %}
{% set alert = page.single %}
<p class="text" style="margin:10px 0 0;{{ font }}font-size:16px;line-height:24px;color:#131b26;{{ wrap }}">\
{{ lines(alert.message) }}</p>
{% if alert.value or alert.held %}
<table role="presentation" cellpadding="0" cellspacing="0" border="0" style="margin:18px 0 0;"><tr>
{% if alert.value %}{{ number("Value", alert.value, page.colour) }}{% endif %}
{% if alert.held %}{{ number("Lasted" if alert.ended else "For", alert.held, page.colour) }}{% endif %}
</tr></table>
{% endif %}
{% if alert.explanation %}
<p class="code" style="margin:16px 0 0;padding:9px 14px;{{ mono }}font-size:13px;line-height:20px;\
background-color:#f3f5f8;color:#3b4757;border-radius:6px;{{ wrap }}">{{ lines(alert.explanation) }}</p>
{% endif %}
{% endif %}
{% for name, alerts in page.sections %}
<p class="soft" style="margin:18px 0 4px;{{ soft }}">{{ name }} ({{ alerts|length }})</p>
<table role="presentation" width="100%" cellpadding="0" cellspacing="0" border="0">
{% for alert in alerts %}
<tr>
<td width="4" bgcolor="{{ alert.colour }}" style="width:4px;font-size:0;background-color:{{ alert.colour }};\
border-radius:2px;">&nbsp;</td>
<td valign="top" style="padding:7px 12px;{{ wrap }}">
<div class="text" style="{{ font }}font-size:15px;line-height:21px;color:#131b26;">\
{% if page.mixed %}<b>{{ alert.rule }}</b> {% endif %}{{ lines(alert.message) }}</div>
{% set about = [alert.severity if page.graded and not alert.ended, alert.about]|select|join(", ") %}
{% if about %}<div class="soft" style="{{ soft }}">{{ about }}</div>{% endif %}
{% if alert.explanation %}
<div class="soft" style="{{ mono }}font-size:12px;line-height:18px;color:#5a6676;">{{ lines(alert.explanation) }}</div>
{% endif %}
</td>
<td valign="top" align="right" style="padding:7px 0;white-space:nowrap;">
{% if alert.value %}
<div style="{{ font }}font-size:15px;line-height:21px;font-weight:600;color:{{ alert.colour }};">{{ alert.value }}</div>
{% endif %}
{% if alert.held %}
<div class="soft" style="{{ soft }}">{{ "lasted" if alert.ended else "for" }} {{ alert.held }}</div>
{% endif %}
</td>
</tr>
{% if not loop.last %}<tr><td colspan="3" height="6" style="height:6px;font-size:0;line-height:6px;">&nbsp;</td></tr>
{% endif %}
{% endfor %}
</table>
{% endfor %}
{% if page.more %}
<p class="soft" style="margin:10px 0 0;{{ soft }}">… +{{ page.more }} more</p>
{% endif %}
{% if chart and page.chart %}
<img src="{{ chart }}" width="542" height="96" alt="{{ page.chart }}"
 style="display:block;width:100%;max-width:542px;height:auto;margin:20px 0 0;border:0;">
<p class="soft" style="margin:4px 0 0;{{ soft }}{{ wrap }}">{{ page.chart }}</p>
{% endif %}
{% if page.single %}
<table class="rule" role="presentation" width="100%" cellpadding="0" cellspacing="0" border="0"
 style="margin:18px 0 0;border-top:1px solid #e1e6ec;"><tr><td height="10" style="height:10px;font-size:0;">&nbsp;</td>
</tr>
{% for name, text in page.single.facts %}
<tr>
<td class="soft" valign="top" style="{{ soft }}padding:2px 18px 2px 0;white-space:nowrap;">{{ name }}</td>
<td class="text" width="100%" valign="top" style="{{ font }}font-size:13px;line-height:19px;color:#131b26;\
padding:2px 0;{{ wrap }}">{{ text }}</td>
</tr>
{% endfor %}
</table>
{% endif %}
{% if page.link or page.series[1] %}
<table role="presentation" cellpadding="0" cellspacing="0" border="0" style="margin:22px 0 0;"><tr>
{% if page.link %}
<td bgcolor="{{ page.colour }}" style="background-color:{{ page.colour }};border-radius:6px;">
<a href="{{ page.link }}" target="_blank" style="display:inline-block;padding:10px 20px;{{ font }}font-size:15px;\
line-height:20px;font-weight:600;color:#ffffff;text-decoration:none;">Open in Oculus</a></td>
{% endif %}
{% if page.series[1] %}
<td class="soft" style="{{ soft }}padding:0 0 0 {{ 18 if page.link else 0 }}px;{{ wrap }}">\
<a class="soft" href="{{ page.series[1] }}" target="_blank" style="{{ soft }}">{{ page.series[0] }}</a></td>
{% endif %}
</tr></table>
{% endif %}
</td></tr></table>
<!--[if mso]></td></tr></table><![endif]-->
<p class="soft" style="margin:14px 0 0;{{ soft }}font-size:12px;">Sent by Oculus</p>
</td></tr></table>
</body>
</html>
"""
