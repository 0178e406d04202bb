//! What tells languages of one script apart: their commonest small words, in falling order of frequency, and the letters that
//! the script's plain alphabet lacks. Written from a knowledge of the languages, not counted in a corpus; what counts is which
//! words are there, the order only roughly.

use super::Script;

/// One language.
pub(super) struct Profile {
    /// Its code, and codes of languages so near that they are not told apart from it. A language of two scripts has two profiles.
    pub codes: &'static [&'static str],
    pub script: Script,
    /// Small words.
    pub words: &'static str,
    /// Letters beyond `a–z` (Latin), beyond those that all languages of the script share (others).
    pub letters: &'static str,
}

/// Every language that is told apart from others of its script.
pub(super) const PROFILES: &[Profile] = &[
    Profile {
        codes: &["en"],
        script: Script::Latin,
        words: "the of and to a in is that it for was on are with as be at we this by have from or not but you had which so \
            there their if then will what can each how do has more than they she he his her were been its i one all would \
            when who let need find first now since because thus therefore get gives total number left many much means \
            answer step also only into our them these those after before both same should does did being could your",
        letters: "",
    },
    Profile {
        codes: &["fr"],
        script: Script::Latin,
        words: "de la le et les des est un une en que à il du dans pour qui a sur par ne pas ce plus avec se elle au sont nous \
            on mais ou cette comme son sa ses ont être fait si tout donc combien chaque leur aux deux c'est d'abord \
            ensuite puis alors car nombre réponse reste avait était sont été avoir même aussi doit faut calculer total \
            après avant je vous nous l'on soit trouver",
        letters: "àâæçèéêëîïôœùûüÿ",
    },
    Profile {
        codes: &["de"],
        script: Script::Latin,
        words: "die der und in zu den das nicht von sie ist des sich mit dem er es ein ich auf so eine auch als an nach wie im \
            für man aber aus durch wenn nur war noch werden bei hat wir was wird sein einen welche sind oder zur um haben \
            einer mir über ihm diese einem ihr uns da zum kann doch vor dieser mich ihn du hatte seine mehr am denn nun \
            unter sehr selbst schon hier bis habe ihre dann jeder insgesamt also antwort anzahl viele zuerst müssen",
        letters: "äöüß",
    },
    Profile {
        codes: &["es"],
        script: Script::Latin,
        words: "de la que el en y a los se del las un por con no una su para es al lo como más o pero sus le ha me si sin sobre \
            este ya entre cuando todo esta ser son dos también fue había era muy hasta desde está mi porque qué sólo han \
            hay vez puede todos así nos ni parte tiene él uno donde cada cuántos cuántas entonces luego total respuesta \
            primero número ahora hacer tenemos después tanto ella",
        letters: "áéíñóúü",
    },
    Profile {
        codes: &["it"],
        script: Script::Latin,
        words: "di e il la che in a per un è del non una i si le con da lo dei al alla sono nel come più della gli ha delle ma \
            o questo anche se dalla su ci suo sua cui loro quando essere stato era tra ogni quanti quante quindi poi prima \
            totale numero risposta abbiamo dopo perché così due dobbiamo ora ne degli nella deve lui lei",
        letters: "àèéìíîòóùú",
    },
    Profile {
        codes: &["pt", "gl"],
        script: Script::Latin,
        words: "de a o que e do da em um para é com não uma os no se na por mais as dos como mas foi ao ele das tem à seu sua \
            ou ser quando muito há nos já está eu também só pelo pela até isso ela entre era depois sem mesmo aos ter seus \
            quem nas me esse eles estão você tinha foram essa num nem suas meu às cada quantos quantas então primeiro \
            número resposta precisamos temos são",
        letters: "áâãàçéêíóôõú",
    },
    Profile {
        codes: &["nl", "af"],
        script: Script::Latin,
        words: "de en van het een in is dat op te zijn met voor niet aan er om ook als dan maar bij of uit nog worden door naar \
            heeft tot ze wordt over hij kan zou veel meer deze haar hun die was wij ik je we hebben had geen zo al wat nu \
            elke hoeveel dus eerst daarna antwoord totaal aantal moeten krijgen",
        letters: "éëïóöü",
    },
    Profile {
        codes: &["sv"],
        script: Script::Latin,
        words: "och i att det som en på är av för med till den har de inte om ett han men var jag sig från vi så kan när hon \
            nu eller ut där då vad över efter under skulle hade alla varje många hur mycket sedan först svaret också blir \
            antal få måste detta dessa",
        letters: "åäöé",
    },
    Profile {
        codes: &["da", "nb", "nn", "no"],
        script: Script::Latin,
        words: "og i at det er en til på som med for af av ikke den har de der et han var jeg vi sig fra så kan når hun nå nu \
            eller ut hvor da hvad hva om efter etter under ville havde hadde alle hver mange meget mye først svaret også \
            blir bliver antal antall få må dette disse",
        letters: "æøåé",
    },
    Profile {
        codes: &["fi"],
        script: Script::Latin,
        words: "ja on ei että se hän oli joka mutta niin kun ovat ole myös kuin tai jos minä olla sen sitä nyt mitä tämä kaikki \
            hänen vain kuinka monta paljon jokainen sitten ensin vastaus yhteensä koska siis jälkeen mukaan voi täytyy",
        letters: "äöå",
    },
    Profile {
        codes: &["pl"],
        script: Script::Latin,
        words: "i w na z nie się do to że o jest a jak po od za co ale dla jego przez są czy ma był być już tylko tak ich oraz \
            może było lub który która które każdy ile więc potem najpierw odpowiedź razem liczba jej musimy mamy",
        letters: "ąćęłńóśźż",
    },
    Profile {
        codes: &["cs", "sk"],
        script: Script::Latin,
        words: "a v se na je že to s z do o i jako za ale po by pro jsou který která které od nebo jeho byl bylo tak má být jen \
            už co při každý kolik tedy potom nejprve odpověď celkem počet její musíme máme aby sa nie ako ktorý",
        letters: "áčďéěíňóřšťúůýžäľĺôŕ",
    },
    Profile {
        codes: &["ro"],
        script: Script::Latin,
        words: "și în de a la cu o pe care este nu un din să se că mai pentru sunt ce au dar prin fi sau lui ei fost după cum am \
            până fiecare câte câți atunci apoi întâi răspunsul total număr are aceasta acest vom trebuie",
        letters: "ăâîșțşţ",
    },
    Profile {
        codes: &["hu"],
        script: Script::Latin,
        words: "a az és hogy nem is van egy ez meg volt de csak már el mint ha vagy minden kell lesz még ki be úgy akkor így azt \
            hány mennyi tehát majd először válasz összesen szám után neki ezt lehet",
        letters: "áéíóöőúüű",
    },
    Profile {
        codes: &["tr", "az"],
        script: Script::Latin,
        words: "ve bir bu da de için ile çok ne daha olarak gibi kadar var o sonra en ki ama her olan değil ise veya kaç toplam \
            cevap önce şimdi olur vardır tane sayısı ise mi göre eder bulmak gerekir",
        letters: "çğıöşüâəİ",
    },
    Profile {
        codes: &["vi"],
        script: Script::Latin,
        words: "và của là có cho các không được trong một những với để người đã khi này từ ở về ra số vào cũng như nhiều đến bao \
            nhiêu mỗi vậy sau đó tổng trước đáp án chúng ta cần còn lại sẽ thì",
        letters: "àáâãèéêìíòóôõùúýăđĩũơưạảấầẩẫậắằẳẵặẹẻẽếềểễệỉịọỏốồổỗộớờởỡợụủứừửữựỳỵỷỹ",
    },
    Profile {
        codes: &["id", "ms"],
        script: Script::Latin,
        words: "yang dan di itu dengan untuk tidak ini dari dalam akan pada juga saya ke karena tersebut bisa ada mereka lebih \
            kita adalah setiap berapa jadi kemudian pertama jawaban jumlah total setelah harus memiliki oleh atau satu dua \
            masing sebanyak telah dia",
        letters: "é",
    },
    Profile {
        codes: &["sw"],
        script: Script::Latin,
        words: "na ya wa kwa ni katika za la kuwa hii si alikuwa yake cha kila ana kama au lakini ili wake hivyo baada jumla \
            ngapi jibu kwanza kisha sasa idadi alinunua ambayo yeye pia vya zaidi hiyo kwamba moja mbili tuna anahitaji je",
        letters: "",
    },
    Profile {
        codes: &["hr", "bs", "sr"],
        script: Script::Latin,
        words: "i u je da se na za su od ne sa kao to ali što po će iz do bi ili sve koji koja koje ima koliko svaki ukupno nakon \
            zatim prvo odgovor broj treba ona on ako samo bio biti imao njih dakle onda pa jedan dan ga mu joj smo",
        letters: "čćđšž",
    },
    Profile {
        codes: &["ru"],
        script: Script::Cyrillic,
        words: "и в не на я что он с это как по но они мы к у вы из за то все она так его от о же бы для был было если когда уже \
            или ее её их сколько каждый всего чтобы нам затем сначала ответ после потом только есть нужно поэтому число",
        letters: "ыэъё",
    },
    Profile {
        codes: &["uk"],
        script: Script::Cyrillic,
        words: "і в не на що він з це як по але вони ми до у ви із за то всі вона так його від о ж би для був було якщо коли вже \
            або її їх скільки кожен всього щоб нам потім спочатку відповідь після тільки є потрібно тому число та й",
        letters: "іїєґ",
    },
    Profile {
        codes: &["bg", "mk"],
        script: Script::Cyrillic,
        words: "и на в да се за от не е че са по с като ще към му тя той те но при до това или има колко всеки общо след така \
            тогава първо отговор броя трябва можем ако със във си който която което беше имаше една един тя те са ни му ѝ",
        letters: "ъѓќѕј",
    },
    Profile {
        codes: &["sr"],
        script: Script::Cyrillic,
        words: "и у је да се на за су од не са као то али што по ће из до би или све који која које има колико сваки укупно после \
            затим прво одговор број треба она он ако само био бити имао њих дакле онда па један дан га му јој смо",
        letters: "јљњћђџ",
    },
    Profile {
        codes: &["ar"],
        script: Script::Arabic,
        words: "في من على أن إلى لا ما هذا هذه التي الذي عن مع كان هو هي ذلك كل قد كانت بعد لم إذا أو ثم عدد كم إذن الجواب هناك \
            يجب بين و",
        letters: "ةىإأؤئ",
    },
    Profile {
        codes: &["fa"],
        script: Script::Arabic,
        words: "و در به از که این را با است برای آن یک هم تا بر می شود خود یا شد ما او هر چند پس سپس تعداد پاسخ باید دارد کرد بود \
            نیز اگر",
        letters: "پچژگکی",
    },
    Profile {
        codes: &["ur"],
        script: Script::Arabic,
        words: "کے میں کی ہے اور سے کا کو اس نے پر کہ ہیں یہ کر بھی ایک ہو تو وہ جو تھا ہر کتنے تعداد جواب پھر لیے گا گے ہم کل",
        letters: "ٹڈڑںےہھپچگکی",
    },
    Profile {
        codes: &["hi"],
        script: Script::Devanagari,
        words: "के में की है और से का को पर ने कि हैं यह भी एक हो तो वह जो था कर इस लिए नहीं कितने प्रत्येक कुल उत्तर फिर गया हम \
            अगर उसके उसने अब यही हर दिन थे थी थीं हुए पास वे मैं क्या इसके रहे रहा",
        letters: "",
    },
    Profile {
        codes: &["mr"],
        script: Script::Devanagari,
        words: "आहे आणि या व ते हे की तर होते त्या एक आहेत नाही त्याने तिने किती प्रत्येक एकूण उत्तर मग करून साठी असेल होता ला मध्ये ती तो \
            म्हणून जर होती आता एका पण झाले आपण दररोज त्याच्या तिच्या त्यांनी",
        letters: "ळ",
    },
];
