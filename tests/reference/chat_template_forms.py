"""Chat templates in the forms that published checkpoints use, written for make_chat_templates.py.

None is a copy: each exercises a form (how turns are marked, where a system text goes, how tools,
documents, pictures and reasoning are written, what is refused) with markers of its own.
"""

CONTENT = {
    "chatml": """{% for message in messages %}{{ '<|start|>' + message['role'] + '\\n' + message['content'] + '<|stop|>' + '\\n' }}{% endfor %}"""
    """{% if add_generation_prompt %}{{ '<|start|>assistant\\n' }}{% endif %}""",
    "chatml, a default system text": """{%- if messages[0].role != 'system' -%}
{{ '<|start|>system\\nYou help.<|stop|>\\n' }}
{%- endif -%}
{%- for message in messages -%}
{{ '<|start|>' ~ message.role ~ '\\n' ~ message.content ~ '<|stop|>\\n' }}
{%- endfor -%}
{{ '<|start|>assistant\\n' if add_generation_prompt }}""",
    "chatml, content of parts": """{% for m in messages %}<|start|>{{ m.role }}
{% if m.content is string %}{{ m.content }}{% else %}{% for part in m.content %}{% if part.type == 'image' or 'image' in part or 'image_url' in part %}"""
    """<picture>{% elif part.type == 'text' %}{{ part.text }}{% endif %}{% endfor %}{% endif %}<|stop|>
{% endfor %}{% if add_generation_prompt %}<|start|>assistant
{% endif %}""",
    "pictures, counted": """{% set pictures = namespace(value=0) %}{% for m in messages %}<|start|>{{ m['role'] }}
{% if m['content'] is string %}{{ m['content'] }}{% else %}{% for c in m['content'] %}{% if c['type'] == 'image' or 'image' in c %}
{% set pictures.value = pictures.value + 1 %}{% if add_vision_id %}Picture {{ pictures.value }}: {% endif %}<|see|><|pad|><|seen|>
{%- elif 'text' in c %}{{ c['text'] }}{% endif %}{% endfor %}{% endif %}<|stop|>
{% endfor %}""",
    "pictures first": """{% for m in messages %}{% if m.content is not string %}{% for c in m.content | selectattr('type', 'equalto', 'image') %}<image>{% endfor %}"""
    """{% for c in m.content | selectattr('type', 'eq', 'text') %}{{ c.text }}{% endfor %}{% else %}{{ m.content }}{% endif %}\\n{% endfor %}""",
    "turns of parts": """{% for message in messages %}{{ message['role'].capitalize() }}{% if message['content'][0]['type'] == 'image' %}{{ ':' }}"""
    """{% else %}{{ ': ' }}{% endif %}{% for part in message['content'] %}{% if part['type'] == 'text' %}{{ part['text'] }}"""
    """{% elif part['type'] == 'image' %}{{ '<image>' }}{% endif %}{% endfor %}<end_of_utterance>\n{% endfor %}"""
    """{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}""",
    "system apart": """{% if messages and messages[0]['role'] == 'system' %}{% set rest = messages[1:] %}{% set system = messages[0]['content'] %}"""
    """{% else %}{% set rest = messages %}{% set system = false %}{% endif %}{% for m in rest %}"""
    """{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}"""
    """{% if loop.index0 == 0 and system != false %}{% set content = '<<SYS>>\\n' + system + '\\n<</SYS>>\\n\\n' + m['content'] %}"""
    """{% else %}{% set content = m['content'] %}{% endif %}{% if m['role'] == 'user' %}{{ bos_token + '[I] ' + content | trim + ' [/I]' }}"""
    """{% elif m['role'] == 'assistant' %}{{ ' ' ~ content.strip() ~ ' ' ~ eos_token }}{% endif %}{% endfor %}""",
    "headers": """{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = '<|head|>' + message['role'] + '<|/head|>\\n\\n' + """
    """message['content'] | trim + '<|eot|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}"""
    """{% if add_generation_prompt %}{{ '<|head|>assistant<|/head|>\\n\\n' }}{% endif %}""",
    "other role names": """{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}{% for message in messages %}"""
    """{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}{% set role = message['role'] %}{% endif %}"""
    """{{ '<turn>' + role + '\\n' + message['content'] | trim + '</turn>\\n' }}{% endfor %}{% if add_generation_prompt %}{{'<turn>model\\n'}}{% endif %}""",
    "a first prefix": """{{ bos_token }}
{%- if messages[0]['role'] == 'system' -%}
    {%- if messages[0]['content'] is string -%}
        {%- set first_user_prefix = messages[0]['content'] + '\n\n' -%}
    {%- else -%}
        {%- set first_user_prefix = messages[0]['content'][0]['text'] + '\n\n' -%}
    {%- endif -%}
    {%- set loop_messages = messages[1:] -%}
{%- else -%}
    {%- set first_user_prefix = "" -%}
    {%- set loop_messages = messages -%}
{%- endif -%}
{%- for message in loop_messages -%}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}
        {{ raise_exception("Roles must alternate: user/assistant/user/…") }}
    {%- endif -%}
    {%- set role = "model" if message['role'] == 'assistant' else message['role'] -%}
    {{ '<turn>' + role + '\n' + (first_user_prefix if loop.first else "") }}
    {%- if message['content'] is string -%}
        {{ message['content'] | trim }}
    {%- elif message['content'] is iterable -%}
        {%- for item in message['content'] -%}
            {%- if item['type'] == 'image' -%}{{ '<soi>' }}{%- elif item['type'] == 'text' -%}{{ item['text'] | trim }}{%- endif -%}
        {%- endfor -%}
    {%- else -%}
        {{ raise_exception("Invalid content type") }}
    {%- endif -%}
    {{ '</turn>\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<turn>model\n' }}{%- endif -%}
""",
    "zephyr": """{% for message in messages %}\n{% if message['role'] == 'user' %}\n{{ '<|user|>\n' + message['content'] + eos_token }}\n"""
    """{% elif message['role'] == 'system' %}\n{{ '<|system|>\n' + message['content'] + eos_token }}\n{% elif message['role'] == 'assistant' %}\n"""
    """{{ '<|assistant|>\n'  + message['content'] + eos_token }}\n{% endif %}\n{% if loop.last and add_generation_prompt %}\n{{ '<|assistant|>' }}\n"""
    """{% endif %}\n{% endfor %}""",
    "instruction and response": """{% for m in messages %}{% if m.role == 'system' %}{{ m.content + '\\n\\n' }}{% elif m.role == 'user' %}### Instruction:
{{ m.content }}

{% elif m.role == 'assistant' %}### Response:
{{ m.content + '\\n\\n' }}{% endif %}{% endfor %}{% if add_generation_prompt %}### Response:
{% endif %}""",
    "vicuna": """{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}{% for m in messages %}"""
    """{% if m.role == 'user' %}USER: {{ m.content }} {% elif m.role == 'assistant' %}ASSISTANT: {{ m.content }}{{ eos_token }}{% else %}{{ m.content }} """
    """{% endif %}{% endfor %}{% if add_generation_prompt %}ASSISTANT:{% endif %}""",
    "lines": """
{#- a comment -#}
{%- for m in messages %}
    {%- if not loop.first %}

    {% endif %}
  {% if m.role in ['user', 'assistant'] %}
    {{ loop.index }}/{{ loop.length }} {{ m.role | upper }}{{ '' if m.content is not string else ': ' ~ m.content }}
  {% else %}
# {{ m['role'] }}
{% endif %}
    {%- if loop.last and add_generation_prompt is defined -%}
        last
    {%- endif %}
{% endfor %}
{{- 'nobody' if messages | length == 0 }}
end
""",
    "plus keeps white space": """  {%+ if messages %}  x
  {%- endif +%}
  {#+ comment +#}
  {%+ for m in messages +%}
 {{- m.role -}}
  {%+ endfor %}
end""",
    "CRLF": "{% for m in messages %}\r\n{{ m.role }}:\r\n  {{ m.content }}\r\n{% endfor %}\r\nend\r\n",
    "messages of one role": """{% for m in messages if m.role == 'user' %}{{ loop.index }}: {{ m.content }}{% if not loop.last %}, {% endif %}{% else %}none{% endfor %}""",
    "the last user": """{%- set ns = namespace(last=-1) -%}{%- for m in messages -%}{%- if m.role == 'user' -%}{%- set ns.last = loop.index0 -%}{%- endif -%}{%- endfor -%}"""
    """{%- for m in messages -%}{{ m.role }}{{ '*' if loop.index0 == ns.last else '' }}:{{ m.content if m.content is string else '' }}\\n{%- endfor -%}""",
    "reversed search": """{%- set ns = namespace(multi_step=true, last_query_index=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.multi_step and message.role == "user" and message.content is string and not(message.content.startswith('<answer>') and message.content.endswith('</answer>')) %}
        {%- set ns.multi_step = false %}
        {%- set ns.last_query_index = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if message.content is string %}
        {%- set content = message.content %}
    {%- else %}
        {%- set content = '' %}
    {%- endif %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) %}
        {{- '<|start|>' + message.role + '\\n' + content + '<|stop|>' + '\\n' }}
    {%- elif message.role == "assistant" %}
        {%- set reasoning_content = '' %}
        {%- if message.reasoning_content is string %}
            {%- set reasoning_content = message.reasoning_content %}
        {%- else %}
            {%- if '</think>' in content %}
                {%- set reasoning_content = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
                {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
            {%- endif %}
        {%- endif %}
        {%- if loop.index0 > ns.last_query_index %}
            {%- if loop.last or (not loop.last and reasoning_content) %}
                {{- '<|start|>' + message.role + '\\n<think>\\n' + reasoning_content.strip('\\n') + '\\n</think>\\n\\n' + content.lstrip('\\n') }}
            {%- else %}
                {{- '<|start|>' + message.role + '\\n' + content }}
            {%- endif %}
        {%- else %}
            {{- '<|start|>' + message.role + '\\n' + content }}
        {%- endif %}
        {{- '<|stop|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}""",
    "reasoning removed": """{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}"""
    """{% set ns = namespace(is_first=false, is_tool=false, is_output_first=true, system_prompt='') %}"""
    """{%- for message in messages %}{%- if message['role'] == 'system' %}{% set ns.system_prompt = message['content'] %}{%- endif %}{%- endfor %}{{bos_token}}"""
    """{{ns.system_prompt}}{%- for message in messages %}{%- if message['role'] == 'user' %}{%- set ns.is_tool = false -%}{{'<U>' + message['content']}}{%- endif %}"""
    """{%- if message['role'] == 'assistant' and message['content'] is not none %}{% set content = message['content'] %}{% if '</think>' in content %}"""
    """{% set content = content.split('</think>')[-1] %}{% endif %}{{'<A>' + content + '<end>'}}{%- endif %}{%- endfor -%}"""
    """{% if ns.is_tool %}{{'<tools-end>'}}{% endif %}{% if add_generation_prompt and not ns.is_tool %}{{'<A><think>\\n'}}{% endif %}""",
    "block set": """{% set greeting %}Hello, {{ messages | length }} messages{% endset %}{{ greeting }}|{{ greeting | length }}|{% set up | upper | replace('L', '-') %}"""
    """{% for m in messages %}{{ m.role }} {% endfor %}{% endset %}{{ up }}""",
    "filter blocks": """{% filter upper %}{% for m in messages %}{{ m.role }} {% endfor %}{% endfilter %}|{% filter trim | replace(' ', '_') %}  a b {% endfilter %}|"""
    """{% filter indent(2, true) %}x
y{% endfilter %}""",
    "macros": """{%- macro turn(role, text, end='<|stop|>') -%}<|{{ role }}|>{{ text | trim }}{{ end }}{%- endmacro -%}
{%- macro all(list) -%}{%- for m in list -%}{{ turn(m.role, m.content if m.content is string else m.content | map(attribute='text') | select('string') | join(' ')) }}
{% endfor -%}{%- endmacro -%}
{{ all(messages) }}{% if add_generation_prompt %}{{ turn('assistant', '', end='') }}{% endif %}""",
    "a macro of macros": """{%- macro type_of(p) -%}
{%- if p.type == 'array' -%}
{%- if p['items'] -%}{{ type_of(p['items']) ~ '[]' }}{%- else -%}any[]{%- endif -%}
{%- elif p.enum is defined and p.enum -%}
{{ '"' + p.enum | join('" | "') + '"' }}
{%- elif p.type is defined and p.type is iterable and p.type is not string -%}
{{ p.type | join(' | ') }}
{%- elif p.type == 'object' -%}
{ {% for k, v in (p.properties or {}).items() %}{{ k }}: {{ type_of(v) }}{{ ', ' if not loop.last }}{% endfor %} }
{%- else -%}
{{ p.type | default('any') }}
{%- endif -%}
{%- endmacro -%}
{%- if tools -%}
# Tools
{%- for tool in tools %}
{%- set f = tool.function if tool.function is defined else tool %}
type {{ f.name }} = (_: {
{%- for name, p in f.parameters.properties.items() %}
  {{ name }}{{ '?' if name not in (f.parameters.required or []) }}: {{ type_of(p) }},{% if p.description %} // {{ p.description }}{% endif %}
{%- endfor %}
}) => any;
{%- endfor %}
{%- endif %}
{%- for m in messages %}
{{ m.role }}={{ m.content }}
{%- endfor %}""",
    "tools as JSON": """{%- if tools %}{{- '<|start|>system\\n' }}{%- if messages[0].role == 'system' %}{{- messages[0].content + '\\n\\n' }}{%- endif %}"""
    """{{- "# Tools\\n\\n<tools>" }}{%- for tool in tools %}{{- "\\n" }}{{- tool | tojson }}{%- endfor %}{{- "\\n</tools><|stop|>\\n" }}{%- endif %}
{%- for message in messages %}
    {%- if message.role == 'assistant' and message.tool_calls %}
        {{- '<|start|>assistant' }}
        {%- if message.content %}{{- '\\n' + message.content }}{%- endif %}
        {%- for tool_call in message.tool_calls %}
            {%- if tool_call.function is defined %}{%- set tool_call = tool_call.function %}{%- endif %}
            {{- '\\n<tool_call>\\n{"name": "' }}{{- tool_call.name }}{{- '", "arguments": ' }}
            {%- if tool_call.arguments is string %}{{- tool_call.arguments }}{%- else %}{{- tool_call.arguments | tojson }}{%- endif %}
            {{- '}\\n</tool_call>' }}
        {%- endfor %}
        {{- '<|stop|>\\n' }}
    {%- elif message.role == 'tool' %}
        {%- if (loop.index0 == 0) or (messages[loop.index0 - 1].role != 'tool') %}{{- '<|start|>user' }}{%- endif %}
        {{- '\\n<tool_response>\\n' }}{{- message.content }}{{- '\\n</tool_response>' }}
        {%- if loop.last or (messages[loop.index0 + 1].role != 'tool') %}{{- '<|stop|>\\n' }}{%- endif %}
    {%- else %}
        {{- '<|start|>' + message.role + '\\n' }}{{- message.content }}{{- '<|stop|>\\n' }}
    {%- endif %}
{%- endfor %}""",
    "tools, dates and indentation": """{{- bos_token }}
{%- if custom_tools is defined %}{%- set tools = custom_tools %}{%- endif %}
{%- if not tools_in_user_message is defined %}{%- set tools_in_user_message = true %}{%- endif %}
{%- if not date_string is defined %}{%- if strftime_now is defined %}{%- set date_string = strftime_now("%d %b %Y") %}{%- else %}{%- set date_string = "26 Jul 2024" %}{%- endif %}{%- endif %}
{%- if not tools is defined %}{%- set tools = none %}{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content'] | trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|head|>system<|/head|>\\n\\nToday Date: " + date_string + "\\n\\n" }}
{%- if tools is not none and not tools_in_user_message %}{%- for t in tools %}{{- t | tojson(indent=4) }}{{- "\\n\\n" }}{%- endfor %}{%- endif %}
{{- system_message }}{{- "<|eot|>" }}
{%- if tools_in_user_message and not tools is none %}
    {%- if messages | length != 0 %}
        {%- set first_user_message = messages[0]['content'] | trim %}{%- set messages = messages[1:] %}
    {%- else %}
        {{- raise_exception("Cannot put tools in the first user message when there's no first user message!") }}
    {%- endif %}
    {{- '<|head|>user<|/head|>\\n\\n' -}}
    {%- for t in tools %}{{- t | tojson(indent=4) }}{{- "\\n\\n" }}{%- endfor %}
    {{- first_user_message + "<|eot|>" }}
{%- endif %}
{%- for message in messages %}
    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|head|>' + message['role'] + '<|/head|>\\n\\n' + message['content'] | trim + '<|eot|>' }}
    {%- elif 'tool_calls' in message %}
        {%- if not message.tool_calls | length == 1 %}{{- raise_exception("one tool call at once!") }}{%- endif %}
        {%- set tool_call = message.tool_calls[0].function %}
        {{- '{"name": "' + tool_call.name + '", "parameters": ' }}{{- tool_call.arguments | tojson }}{{- "}" }}
    {%- elif message.role == "tool" or message.role == "ipython" %}
        {%- if message.content is mapping or message.content is iterable %}{{- message.content | tojson }}{%- else %}{{- message.content }}{%- endif %}
        {{- "<|eot|>" }}
    {%- endif %}
{%- endfor %}""",
    "tool results by number": """{%- set ns = namespace(index=0, seen=[]) -%}
{%- for m in messages -%}
{%- if m.role == 'tool' -%}
{%- if loop.previtem is not defined or loop.previtem.role != 'tool' -%}[{%- endif -%}
{%- set ns.index = ns.index + 1 -%}{%- set ns.seen = ns.seen + [m.name | default('?', true)] -%}
{ "id": "{{ m.tool_call_id or ns.index }}", "result": {{ m.content | tojson }} }
{%- if loop.nextitem is defined and loop.nextitem.role == 'tool' -%}, {% else -%}]{%- endif -%}
{%- elif m.tool_calls is defined and m.tool_calls is not none and m.tool_calls -%}
CALLS {% for call in m.tool_calls %}{{ call.id[:4] if call.id else '-' }}:{{ call.function.name }}({% for k, v in call.function.arguments.items() %}{{ k }}={{ v | tojson }}{% if not loop.last %}, {% endif %}{% endfor %}){% endfor %}
{%- else -%}
{{ m.role[0] }}>{{ m.content }}
{%- endif -%}
{{ '\\n' }}
{%- endfor -%}
{{ ns.seen | unique | join(',') }}""",
    "instructions with tools": """{%- if messages[0]["role"] == "system" %}
    {%- set system_message = messages[0]["content"] %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set loop_messages = messages %}
{%- endif %}
{%- set user_messages = loop_messages | selectattr("role", "equalto", "user") | list %}
{%- set ns = namespace() %}
{%- set ns.index = 0 %}
{%- for message in loop_messages %}
    {%- if not (message.role == "tool" or message.role == "tool_results" or (message.tool_calls is defined and message.tool_calls is not none)) %}
        {%- if (message["role"] == "user") != (ns.index % 2 == 0) %}
            {{- raise_exception("After the optional system message, conversation roles must alternate") }}
        {%- endif %}
        {%- set ns.index = ns.index + 1 %}
    {%- endif %}
{%- endfor %}
{{- bos_token }}
{%- for message in loop_messages %}
    {%- if message["role"] == "user" %}
        {%- if tools is not none and (message == user_messages[-1]) %}
            {{- "[AVAILABLE_TOOLS] [" }}
            {%- for tool in tools %}
                {%- set tool = tool.function %}
                {{- '{"type": "function", "function": {' }}
                {%- for key, val in tool.items() if key != "return" %}
                    {%- if val is string %}{{- '"' + key + '": "' + val + '"' }}{%- else %}{{- '"' + key + '": ' + val | tojson }}{%- endif %}
                    {%- if not loop.last %}{{- ", " }}{%- endif %}
                {%- endfor %}
                {{- "}}" }}
                {%- if not loop.last %}{{- ", " }}{%- else %}{{- "]" }}{%- endif %}
            {%- endfor %}
            {{- "[/AVAILABLE_TOOLS]" }}
        {%- endif %}
        {%- if loop.last and system_message is defined %}
            {{- "[I] " + system_message + "\\n\\n" + message["content"] + "[/I]" }}
        {%- else %}
            {{- "[I] " + message["content"] + "[/I]" }}
        {%- endif %}
    {%- elif message.tool_calls is defined and message.tool_calls is not none %}
        {{- "[TOOL_CALLS] [" }}
        {%- for tool_call in message.tool_calls %}
            {%- set out = tool_call.function | tojson %}
            {{- out[:-1] }}
            {%- if not tool_call.id is defined or tool_call.id | length != 9 %}
                {{- raise_exception("Tool call IDs should be alphanumeric strings with length 9!") }}
            {%- endif %}
            {{- ', "id": "' + tool_call.id + '"}' }}
            {%- if not loop.last %}{{- ", " }}{%- else %}{{- "]" + eos_token }}{%- endif %}
        {%- endfor %}
    {%- elif message["role"] == "assistant" %}
        {{- " " + message["content"] | trim + eos_token }}
    {%- elif message["role"] == "tool_results" or message["role"] == "tool" %}
        {%- if message.content is defined and message.content.content is defined %}
            {%- set content = message.content.content %}
        {%- else %}
            {%- set content = message.content %}
        {%- endif %}
        {{- '[TOOL_RESULTS] {"content": ' + content | string + "}" }}
    {%- else %}
        {{- raise_exception("Only user and assistant roles are supported, with the exception of an initial optional system message!") }}
    {%- endif %}
{%- endfor %}""",
    "documents": """{%- if documents %}<documents>
{% for document in documents %}
Document: {{ loop.index0 }}
{% for key, value in document.items() %}{{ key | title }}: {{ value }}
{% endfor %}
{% endfor %}</documents>
{% endif %}
{%- set cited = documents | default([], true) | map(attribute='title') | list %}
{%- if cited %}Titles: {{ cited | join('; ') }}
{% endif %}
{%- for m in messages %}{{ m.role | title }}: {{ m.content }}
{% endfor %}""",
    "dictionaries": """{%- set names = {'user': 'Human', 'assistant': 'Bot', 'system': 'Rules'} -%}
{%- set ends = dict(user='.', assistant='!') -%}
{%- for m in messages -%}
{{ names[m.role] if m.role in names else names.get(m['role'], m.role | title) }}{{ ends.get(m.role, '?') }}{{ names[m.role] | default('-') | length }}
{% endfor -%}
{%- for k, v in names | dictsort %}{{ k }}={{ v }};{% endfor %}{% for k, v in names.items() %}{{ loop.index }}{{ k[0] }}{{ v[-1] }}{% endfor %}{% for k in names %}{{ k }}{% endfor %}
{{- names | tojson }}{{ names.keys() | list }}{{ names.values() | list | last }}{{ names | length }}{{ names | items | first }}""",
    "break and continue": """{% for m in messages %}{% if m.role == 'system' %}{% continue %}{% endif %}{{ m.role }} {% if loop.index > 3 %}{% break %}{% endif %}{% else %}-{% endfor %}|"""
    """{% for i in range(10) %}{% if i % 2 %}{% continue %}{% endif %}{{ i }}{% if i == 6 %}{% break %}{% endif %}{% endfor %}""",
    "ranges": """{% for i in range(messages | length) %}{{ i }}{{ messages[i].role[:1] }}{% endfor %}|{% for i in range(5, 0, -2) %}{{ i }}{% endfor %}|"""
    """{{ range(3) | list }}{{ range(2, 5) | sum }}{{ 2 in range(3) }}{{ range(4)[1] }}{{ range(10)[2:4] | list }}{{ range(3) | length }}""",
    "raw": """{% raw %}{{ not.rendered }}{% if %}{% endraw %}{{ messages | length }}{%- raw -%}  {# kept #}  {%- endraw -%}  end""",
    "generation blocks": """{%- for m in messages -%}{%- if m.role == 'assistant' -%}<A>{% generation %}{{ m.content }}{{ eos_token }}{% endgeneration %}{%- else -%}"""
    """<{{ m.role[0] | upper }}>{{ m.content }}{%- endif -%}{%- endfor -%}{%- if add_generation_prompt -%}<A>{%- endif -%}""",
    "generation and variables": """{% set x = 'out' %}{% for m in messages %}{%- generation -%}{% set x = m.role %}{{ x }}{%- endgeneration -%}{{ x }} {% endfor %}""",
    "dates": """{{ strftime_now('%Y-%m-%d') }} {{ strftime_now('%d %b %Y, %H:%M:%S %A %B %j %y %p %I %a %%') }}{% for m in messages %}{{ m.role }}{% endfor %}""",
    "with": """{% with a = 1, b = messages | length %}{{ a + b }}{% with %}{% set a = 5 %}{{ a }}{% endwith %}{{ a }}{% endwith %}{{ a is defined }}""",
    "scopes": """{% set x = 'a' %}{% for m in messages %}{{ x }}{% set x = m.role %}{{ x }}{% if loop.first %}{% set y = 1 %}{% endif %}{{ y is defined }} {% endfor %}{{ x }}{{ y is defined }}"""
    """{% if messages %}{% set z = 'if' %}{% endif %}{{ z }}{% for i in [1, 2] %}{{ w | default('0') }}{% set w = '1' %}{% endfor %}""",
    "names assigned later": """{% macro show() %}{{ later }}{% endmacro %}{{ show() }}|{% for i in [1] %}{{ tools }}{{ later }}{% endfor %}|{% set later = 'now' %}{{ show() }}{{ later }}"""
    """{% for i in [1] %}{{ bos_token }}{% endfor %}{% set bos_token = 'b' %}{{ bos_token }}""",
    "two loop names": """{% for a, b in [[1, 2], (3, 4)] %}{{ a }}-{{ b }} {% endfor %}{% for i, (j, k) in [[1, [2, 3]]] %}{{ i + j + k }}{% endfor %}"""
    """{% set a, b = 1, 'x' %}{{ a }}{{ b }}{% for k, v in messages[0].items() if messages %}{{ k }}={{ v is string }} {% endfor %}""",
    "loop variables": """{% for m in messages %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.depth }}"""
    """{{ loop.cycle('odd', 'even') }}{{ loop.previtem.role if loop.previtem is defined }}{{ loop.nextitem.role if loop.nextitem is defined else 'end' }}{{ loop.changed(m.role) }}"""
    """{% for i in 'ab' %}{{ loop.depth0 }}{{ i }}{% endfor %} {% endfor %}""",
    "selecting": """{{ messages | selectattr('role', 'equalto', 'user') | list | length }}{{ messages | rejectattr('role', 'in', ['user', 'system']) | map(attribute='role') | join(',') }}"""
    """{{ messages | map(attribute='role') | unique | list }}{{ messages | map(attribute='role') | map('upper') | first | default('none') }}"""
    """{{ [1, 0, 2, none] | select | list }}{{ [1, 2, 3] | select('odd') | list }}{{ [1, 2, 3] | reject('gt', 1) | list }}{{ ['b', 'A', 'c'] | sort | join }}"""
    """{{ ['b', 'A'] | sort(case_sensitive=true) | join }}{{ messages | sort(attribute='role', reverse=true) | map(attribute='role') | join(' ') }}"""
    """{{ [3, 1, 2] | max }}{{ [3, 1, 2] | min }}{{ messages | selectattr('name') | list | length }}{{ messages | map(attribute='name', default='?') | join }}""",
    "defaults": """{{ nothing | default('a') }}{{ '' | default('b', true) }}{{ none | default('c') }}{{ none | default('d', boolean=true) }}{{ nothing | d }}{{ messages[99] | default('e') }}"""
    """{{ nothing is defined }}{{ nothing is undefined }}{{ nothing is none }}{{ tools is none }}{{ documents is none }}{{ (nothing or 'f') }}{{ enable_thinking | default(true) }}""",
    "text methods": """{% set t = '  Hello, wörld  ' %}[{{ t.strip() }}][{{ t.lstrip() }}][{{ t.rstrip() }}][{{ t.upper() }}][{{ t.lower() }}][{{ t.title() }}][{{ t.strip().capitalize() }}]"""
    """[{{ t.split() }}][{{ t.split(',') }}][{{ 'a-b-c'.split('-', 1) }}][{{ 'a-b-c'.rsplit('-', 1) }}][{{ t.replace('l', 'L') }}][{{ t.replace('l', 'L', 1) }}][{{ t.find('l') }}]"""
    """[{{ t.count('l') }}][{{ t.startswith('  H') }}][{{ 'abc'.startswith('b', 1) }}][{{ 'abc'.endswith(('x', 'c')) }}][{{ 'a,b'.partition(',') }}][{{ 'a\\nb'.splitlines() }}]"""
    """[{{ ', '.join(['a', 'b']) }}][{{ 'xyx'.removeprefix('x').removesuffix('x') }}][{{ '12'.isdigit() }}{{ 'ab'.isalpha() }}{{ 'a1'.isalnum() }}{{ ' '.isspace() }}{{ 'A'.isupper() }}{{ 'a'.islower() }}]""",
    "text filters": """{% for m in messages %}{{ m.role | upper }}{{ m.role | capitalize }}{{ m.role | title }}{{ m.role | length }}{{ m.role | first }}{{ m.role | last }}{{ m.role | reverse }}"""
    """{{ m.role | replace('s', '$') }}{{ m.role | list | join('.') }}{{ m.role | indent }}{{ m.content | string | length }}{{ m.role | trim('ur') }}|{% endfor %}{{ 'a\nb\n\nc' | indent(2) }}"""
    """{{ 'a\nb' | indent(width='>> ', first=true) }}{{ "%s is %d" | format('x', 3) }}{{ '%s' % 'y' }}{{ '{} {}'.format(1, 'z') }}{{ '{0}{1}{0}'.format('a', 'b') }}{{ '{x}'.format(x=1) }}""",
    "characters": """{{ 'É'.lower() }}{{ 'straße'.upper() }}{{ '\u00a0x\u3000' | trim }}{{ '\\x41\\u00e9\\t\\\\\\'' }}{{ 'abc'[0] }}{{ 'héllo'[1] }}{{ 'héllo'[-1] }}{{ 'héllo'[1:3] }}{{ 'héllo'[::-1] }}{{ '日本語' | length }}"""
    """{{ '日本語' | tojson }}{{ '日本語' | tojson(ensure_ascii=true) }}{{ messages.0.role }}{% for c in 'né' %}<{{ c }}>{% endfor %}{{ 'x' in 'xyz' }}{{ 'ß' ~ 'Ω'.lower() }}""",
    "numbers": """{{ 1.5 }} {{ -1.0 }} {{ 1e3 }} {{ 7 // 2 }} {{ -7 // 2 }} {{ -7 % 3 }} {{ 7 / 2 }} {{ 2 ** 10 }} {{ 1 + 2 * 3 }} {{ (1 + 2) * 3 }} {{ 10 | string }} {{ '12' | int + 1 }} {{ '3.5' | float }} {{ 'x' | int }}"""
    """ {{ 3.7 | int }} {{ 3.14159 | round(2) }} {{ 2.5 | round }} {{ -3 | abs }} {{ 1 == 1.0 }} {{ true + 1 }} {{ 1 < 2 < 3 }} {{ 3 > 2 >= 2 != 1 }} {{ 0.1 + 0.2 }} {{ 100000000000000000.0 }} {{ 1e-7 }}""",
    "logic": """{{ true and 'x' }}{{ false or 'y' }}{{ not true }}{{ none or 0 or '' or [] or 'z' }}{{ 1 if false }}{{ 'a' if 1 == 2 else 'b' if 2 == 2 else 'c' }}{{ true == 1 }}{{ none == none }}{{ not not 'a' }}"""
    """{{ 1 in [1, 2] and 3 not in [1, 2] }}{{ 'a' is string }}{{ 1 is number }}{{ 1 is integer }}{{ 1.0 is float }}{{ true is boolean }}{{ [] is sequence }}{{ {} is mapping }}{{ 'a' is iterable }}{{ 3 is odd }}{{ 4 is even }}"""
    """{{ 6 is divisibleby(3) }}{{ 6 is divisibleby 4 }}{{ 'a' is eq 'a' }}{{ 1 is lt 2 }}{{ 2 is in [1, 2] }}{{ true is true }}{{ 1 is true }}{{ none is none }}{{ 'A' is upper }}{{ 'a' is not lower }}{{ range is callable }}""",
    "lists": """{% set l = [1, 'two', [3.0, none], {'k': true}] %}{{ l }}{{ l[1:] }}{{ l[:-1] }}{{ l[::2] }}{{ l + [5] }}{{ [0] * 3 }}{{ l | length }}{{ l[-1].k }}{{ l | first }}{{ l | last }}{{ (1, 2) }}{{ (1,) }}{{ () }}"""
    """{{ l | reverse | list }}{{ [[1, 2], [3]] | sum(start=[]) }}{{ l.index('two') }}{{ l.count(1) }}{{ [1, 2] == [1, 2] }}{{ [1, 2] < [1, 3] }}{{ 'two' in l }}{{ l | tojson }}{{ l | tojson(indent=2) }}""",
    "JSON": """{{ {'b': 1, 'a': [1, 2.5, none, true, 'é"\\n<&>']} | tojson }}{{ {'b': 1, 'a': []} | tojson(sort_keys=true) }}{{ [1, {'x': {}}] | tojson(indent=4) }}{{ [1, 2] | tojson(separators=(',', ':')) }}{{ tools | tojson }}"""
    """{{ 'a' | tojson }}{{ {1: 2, none: 3, true: 4, 1.5: 5} | tojson }}{% if tools %}{{ tools[0] | tojson(indent=2) }}{% endif %}""",
    "escaped and safe": """{{ '<b>' | safe }}{{ '<b>' | escape }}{{ '<b>' | e }}{{ ('<b>' | safe) ~ '<i>' }}{{ (tools | tojson | safe) }}{{ ('<b>' | safe) + '<i>' }}{{ '<a>' | safe | upper }}""",
    "conditional refusals": """{% if tools is not none and tools | length > 0 %}{{ raise_exception('tools are not supported: ' ~ tools | length) }}{% endif %}{% for m in messages %}"""
    """{% if m.role not in ['user', 'assistant'] %}{{ raise_exception('Unknown role: ' + m.role) }}{% endif %}{{ m.content }}{% endfor %}""",
    "an undefined name with text": """{% for m in messages %}{{ 'x' + m.nothing }}{% endfor %}""",
    "an undefined name's attribute": """{{ nothing.more }}""",
    "text and number": """{{ 'a' + 1 }}""",
    "text less than number": """{{ 'a' < messages | length }}""",
    "content must be text": """{% for m in messages %}{{ m['content'] + '\\n' }}{% endfor %}""",
    "a changing method": """{% set l = [] %}{% for m in messages %}{{ l.append(m.role) }}{% endfor %}{{ l }}""",
    "private attributes": """{{ ''.__class__ }}{{ messages.__len__ }}""",
    "an assistant prefix": """{%- for m in messages -%}<{{ m.role }}>{{ m.content }}{%- if not (loop.last and m.role == 'assistant') -%}</{{ m.role }}>{%- endif -%}{%- endfor -%}"""
    """{%- if add_generation_prompt and messages and messages[-1].role != 'assistant' -%}<assistant>{%- endif -%}""",
    "a default text": """{{ bos_token }}{%- if messages and messages[0]['role'] == 'system' -%}{{- '[SYS]' + messages[0]['content'] + '[/SYS]' -}}{%- set first = 1 -%}{%- else -%}{%- set first = 0 -%}"""
    """{{- '[SYS]' ~ ("A date: " ~ strftime_now("%Y-%m-%d")) ~ '[/SYS]' -}}{%- endif -%}{%- for m in messages[first:] -%}{{ m.content }}{%- endfor -%}""",
    "channels": """{%- macro head(role, channel=none) -%}
<|{{ role }}{% if channel %}:{{ channel }}{% endif %}|>
{%- endmacro -%}
{%- set ns = namespace(last_tool=none) -%}
{%- for m in messages -%}
  {%- if m.role == 'assistant' -%}
    {%- if 'tool_calls' in m and m.tool_calls -%}
      {%- set call = m.tool_calls[0].function if m.tool_calls[0].function else m.tool_calls[0] -%}
      {{- head('assistant', 'commentary') ~ call.name ~ ' ' ~ call.arguments | tojson -}}
      {%- set ns.last_tool = call.name -%}
    {%- else -%}
      {{- head('assistant', channel='final') }}{{ m.content -}}
      {%- set ns.last_tool = none -%}
    {%- endif -%}
  {%- elif m.role == 'tool' -%}
    {%- if ns.last_tool is none -%}{{- raise_exception('Message has tool role, but there was no previous assistant message with a tool call!') -}}{%- endif -%}
    {{- head('functions.' ~ ns.last_tool) }}{{ m.content | tojson -}}
  {%- else -%}
    {{- head(m.role) }}{{ m.content -}}
  {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ head('assistant') }}{%- endif -%}""",
    "options": """{%- set style = style | default('short') -%}{%- set options = options or {} -%}{%- for m in messages -%}{{ m.role }}{{ '' if style == 'short' else ':' }}{%- endfor -%}"""
    """{{ enable_thinking }}{{ thinking_budget | default(-1) | int > 0 }}{{ options.get('a') is none }}{{ options.a is defined }}""",
    "counted system": """{%- set system = messages | selectattr('role', 'equalto', 'system') | list -%}{%- set others = messages | rejectattr('role', 'equalto', 'system') | list -%}"""
    """{{ system | length }}{{ others | length }}{%- for m in system -%}<S>{{ m.content }}{%- endfor -%}{%- for m in others -%}<{{ m.role[:1] }}>{{ m.content }}{%- endfor -%}""",
    "batches of text": """{%- set ns = namespace(out='') -%}{%- for m in messages -%}{%- set ns.out = ns.out ~ m.role ~ ':' -%}{%- if m.content is not string -%}{%- for c in m.content -%}"""
    """{%- set ns.out = ns.out ~ (c.text if c.text is defined else '<' ~ c.type ~ '>') -%}{%- endfor -%}{%- else -%}{%- set ns.out = ns.out ~ m.content -%}{%- endif -%}{%- endfor -%}{{ ns.out.strip() }}""",
}

# Not templates: jinja2 refuses them before it renders anything.
INVALID = [
    "{{ f(x }}", "{% if x %}", "{{ 'a", "{% endif %}", "{{ x", "{% for x %}{% endfor %}", "{% set %}", "{% macro f() %}", "{{ x | nosuchfilter }}",
    "{{ x is nosuchtest }}", "{% nosuchtag %}", "{{ 1 2 }}", "{{ [1, 2 }}", "{{ {1: } }}", "{% break %}", "{% set loop = 1 %}{% for i in x %}{% set loop = 2 %}{% endfor %}", "{# open", "{% raw %}a",
    "{{ }}", "{{ x. }}", "{{ a[ }}", "{% generation %}", "{% else %}", "{{ 1 + }}", "{% filter %}{% endfilter %}", "{% set 1 = 2 %}", "{{ 'a' 'b' c }}", "{% for a.b in x %}{% endfor %}", "{% elif x %}",
]

# jinja2 renders these; no published template that we know needs them, and they are refused by name.
UNSUPPORTED = [
    "{% macro f() %}{{ caller() }}{% endmacro %}{% call f() %}x{% endcall %}", "{% macro f() %}{{ varargs }}{% endmacro %}{{ f() }}", "{% macro f() %}{{ kwargs }}{% endmacro %}{{ f() }}",
    "{% for x in [[1]] recursive %}{{ x }}{% endfor %}", "{{ 'a b' | wordcount }}", "{{ 'abcdefghijkl' | truncate(5) }}", "{{ 'abc'.center(9) }}", "{{ 'abc'.zfill(9) }}", "{{ 'abc'.encode() }}", "{{ [1, 2] | batch(1) | list }}",
    "{{ [1, 2] | slice(2) | list }}", "{{ 'http://a' | urlize }}", "{{ 'a b' | urlencode }}", "{{ 1000 | filesizeformat }}", "{{ '%05.1f' % 2.5 }}", "{{ '{:>5}'.format('a') }}", "{{ '{0.real}'.format(1) }}",
    "{{ cycler(1, 2).next() }}", "{{ joiner()() }}", "{{ lipsum() }}", "{% block x %}{% endblock %}", "{% autoescape true %}{% endautoescape %}", "{% print 1 %}", "{{ 0x10 }}", "{{ 1_000 }}", "{{ 7.5 // 2 }}", "{{ '\\N{BULLET}' }}", "{{ range(*[3]) }}",
    "{{ dict(**{'a': 1}) }}", "{{ 9999999999999999999999 }}", "{{ [{'a': 1}] | groupby('a') | list }}", "{{ '<a>b' | striptags }}", "{{ [1] | random }}", "{{ [1] | pprint }}", "{{ 'a b c d' | wordwrap(3) }}",
    "{{ {'a': 1} | xmlattr }}", "{{ 'a' | forceescape }}", "{{ 2 ** -1 }}", "{{ 2.0 ** 2 }}", "{{ 25 | round(-1) }}", "{{ 2.55 | round(1, 'ceil') }}", "{{ 1e300 | int }}", "{{ ('%s' | safe) % '<' }}", "{{ 'ff' | int(0, 16) }}", "{{ (1).real }}", "{{ x[1, 2] }}", "{{ 'upper' is filter }}", "{{ 'odd' is test }}", "{{ 1 is escaped }}", "{{ 0o7 }}",
    "{{ 9007199254740993 == 1.0 }}", "{{ '%(a(b)s' % {'a(b': 1} }}", "{{ '%s' % ('<' | safe) }}", "{{ ('{}' | safe).format(1) }}", "{{ '{:{}}'.format(1, 2) }}", "{{ {'a': 1}.keys() == {'a': 1}.keys() }}", "{{ '\u0663' | int }}", "{{ '1e400' | float }}",
    "{{ (-9223372036854775807 - 1) // -1 }}", "{{ 3 ** 41 }}", "{% macro f() %}{% endmacro %}{{ f.arguments }}", "{% macro f() %}{% endmacro %}{{ f.caller }}", "{% macro f() %}{% endmacro %}{{ f.catch_kwargs }}", "{{ '\\ud800' }}", "{{ range(9223372036854775807) }}",
    "{{ caller }}", "{{ kwargs }}", "{{ varargs }}", "{{ '1e400' | int }}", "{{ 1.5 // -1 }}", "{{ '%i' % 2 }}", "{{ '%c' % 'a' }}",
]
