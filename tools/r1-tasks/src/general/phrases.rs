//! The words of the general requests: every table is in English and Chinese, `{p}` is a person, `{t}` a thing.

use crate::language::Bilingual;

type Text = Bilingual<&'static str>;

/// First names.
pub const NAMES: [Text; 12] = [
    ["Anna", "安娜"],
    ["Ben", "本"],
    ["Clara", "克拉拉"],
    ["David", "大卫"],
    ["Emma", "艾玛"],
    ["Frank", "弗兰克"],
    ["Grace", "格蕾丝"],
    ["Henry", "亨利"],
    ["Iris", "艾丽斯"],
    ["Jack", "杰克"],
    ["Lily", "莉莉"],
    ["Tom", "汤姆"],
];

/// People one writes to or speaks of.
pub const PERSONS: [Text; 10] = [
    ["my neighbour", "我的邻居"],
    ["my teacher", "我的老师"],
    ["my boss", "我的老板"],
    ["my friend", "我的朋友"],
    ["my aunt", "我的阿姨"],
    ["my doctor", "我的医生"],
    ["my landlord", "我的房东"],
    ["my colleague", "我的同事"],
    ["my brother", "我的哥哥"],
    ["my classmate", "我的同学"],
];

/// How the same people are addressed.
pub const ADDRESSES: [Text; 10] = [
    ["Dear neighbour", "亲爱的邻居"],
    ["Dear teacher", "尊敬的老师"],
    ["Dear boss", "尊敬的老板"],
    ["Dear friend", "亲爱的朋友"],
    ["Dear aunt", "亲爱的阿姨"],
    ["Dear doctor", "尊敬的医生"],
    ["Dear landlord", "尊敬的房东"],
    ["Dear colleague", "亲爱的同事"],
    ["Dear brother", "亲爱的哥哥"],
    ["Dear classmate", "亲爱的同学"],
];

/// Greetings: what is said, and what is said back.
pub const GREETINGS: [[Text; 2]; 6] = [
    [["Hello", "你好"], ["Hello", "你好"]],
    [["Hi", "嗨"], ["Hi", "嗨"]],
    [["Good morning", "早上好"], ["Good morning", "早上好"]],
    [["Good afternoon", "下午好"], ["Good afternoon", "下午好"]],
    [["Good evening", "晚上好"], ["Good evening", "晚上好"]],
    [["Nice to meet you", "很高兴认识你"], ["Nice to meet you too", "我也很高兴认识你"]],
];

/// Favours one asks for.
pub const FAVOURS: [Text; 12] = [
    ["water the plants", "帮忙浇花"],
    ["lend me a book", "借我一本书"],
    ["call me tomorrow", "明天给我打电话"],
    ["send me the report", "把报告发给我"],
    ["turn down the music", "把音乐调小一点"],
    ["close the window", "关上窗户"],
    ["move the meeting", "改一下开会时间"],
    ["check my letter", "看一下我的信"],
    ["feed the cat", "喂一下猫"],
    ["wait five minutes", "等五分钟"],
    ["repair the lamp", "修一下灯"],
    ["share your notes", "分享一下笔记"],
];

/// Things one says thank you for.
pub const GIFTS: [Text; 10] = [
    ["the kind help", "热心帮助"],
    ["the lovely dinner", "丰盛的晚餐"],
    ["the good advice", "好建议"],
    ["the birthday card", "生日贺卡"],
    ["the quick answer", "快速答复"],
    ["the warm welcome", "热情接待"],
    ["the fresh bread", "新鲜面包"],
    ["the long talk", "长谈"],
    ["the nice photo", "漂亮照片"],
    ["the great lesson", "精彩的课"],
];

/// Questions about the assistant itself, true answers, and answers that claim what is not so.
pub const IDENTITY: [[Text; 3]; 6] = [
    [
        ["Who are you?", "你是谁？"],
        ["I am r1, a small language model.", "我是 r1，一个小型语言模型。"],
        ["I am a sailor from Norway.", "我是挪威来的水手。"],
    ],
    [
        ["Are you a human?", "你是人类吗？"],
        ["No, I am a language model.", "不是，我是一个语言模型。"],
        ["Yes, I am a human like you.", "是的，我和你一样是人类。"],
    ],
    [
        ["What can you do?", "你能做什么？"],
        ["I can work out small problems and write short texts.", "我能算小题，也能写短句。"],
        ["I can do everything and never make a mistake.", "我什么都会，从不出错。"],
    ],
    [
        ["How did you learn?", "你是怎么学会的？"],
        ["From examples, and from rewards for right answers.", "从例子里学，也从正确答案的奖励里学。"],
        ["I went to school for twelve years.", "我上了十二年学。"],
    ],
    [
        ["Can you make mistakes?", "你会犯错吗？"],
        ["Yes, so please check what I say.", "会的，所以请检查我说的话。"],
        ["No, I am always right.", "不会，我永远是对的。"],
    ],
    [
        ["Which languages do you speak?", "你会说哪些语言？"],
        ["A little English and a little Chinese.", "会一点中文和一点英文。"],
        ["Every language in the world.", "世界上所有的语言。"],
    ],
];

/// Countries and their capitals.
pub const CAPITALS: [[Text; 2]; 16] = [
    [["France", "法国"], ["Paris", "巴黎"]],
    [["Japan", "日本"], ["Tokyo", "东京"]],
    [["China", "中国"], ["Beijing", "北京"]],
    [["Italy", "意大利"], ["Rome", "罗马"]],
    [["Spain", "西班牙"], ["Madrid", "马德里"]],
    [["Egypt", "埃及"], ["Cairo", "开罗"]],
    [["Greece", "希腊"], ["Athens", "雅典"]],
    [["Germany", "德国"], ["Berlin", "柏林"]],
    [["Norway", "挪威"], ["Oslo", "奥斯陆"]],
    [["Austria", "奥地利"], ["Vienna", "维也纳"]],
    [["Cuba", "古巴"], ["Havana", "哈瓦那"]],
    [["Peru", "秘鲁"], ["Lima", "利马"]],
    [["Kenya", "肯尼亚"], ["Nairobi", "内罗毕"]],
    [["Thailand", "泰国"], ["Bangkok", "曼谷"]],
    [["Canada", "加拿大"], ["Ottawa", "渥太华"]],
    [["Portugal", "葡萄牙"], ["Lisbon", "里斯本"]],
];

/// Words and their opposites.
pub const OPPOSITES: [[Text; 2]; 12] = [
    [["hot", "热"], ["cold", "冷"]],
    [["big", "大"], ["small", "小"]],
    [["fast", "快"], ["slow", "慢"]],
    [["high", "高"], ["low", "低"]],
    [["long", "长"], ["short", "短"]],
    [["new", "新"], ["old", "旧"]],
    [["light", "轻"], ["heavy", "重"]],
    [["early", "早"], ["late", "晚"]],
    [["near", "近"], ["far", "远"]],
    [["wet", "湿"], ["dry", "干"]],
    [["full", "满"], ["empty", "空"]],
    [["strong", "强"], ["weak", "弱"]],
];

/// What nobody should be helped with, and what to do instead.
pub const HARMS: [[Text; 2]; 8] = [
    [["steal the bike of {p}", "偷{p}的自行车"], ["You could ask to borrow it.", "你可以问问能不能借用。"]],
    [
        ["read the private messages of {p}", "偷看{p}的私人信息"],
        ["You could talk openly instead.", "你可以坦诚地谈一谈。"],
    ],
    [
        ["spread lies about {p}", "散布关于{p}的谣言"],
        ["You could say what upsets you.", "你可以说出让你难过的事。"],
    ],
    [["threaten {p}", "威胁{p}"], ["Someone neutral could help you both.", "可以请中间人帮你们调解。"]],
    [
        ["fake the signature of {p}", "伪造{p}的签名"],
        ["You could ask for a signature.", "你可以请本人签名。"],
    ],
    [["guess the password of {p}", "猜出{p}的密码"], ["You could ask for access.", "你可以请求获得权限。"]],
    [["follow {p} in secret", "偷偷跟踪{p}"], ["You could ask to meet.", "你可以约时间见面。"]],
    [
        ["break the window of {p}", "砸{p}的窗户"],
        ["A walk may help you calm down.", "散散步也许能让你冷静下来。"],
    ],
];
