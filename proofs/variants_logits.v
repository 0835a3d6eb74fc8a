(* More on what architecture changes do to the bound (section 6): what breaks it. A known bias, talking heads,
   ALiBi without a mask, tables of relative biases. *)
From mathcomp Require Import all_ssreflect all_algebra zify.
From rankbound Require Import model exponential linalg log_rank softmax_gauge theorem_a theorem_1.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory Num.Theory Order.TTheory.
Local Open Scope ring_scope.

Section Known.
Variables (R : expField) (n : nat).
Hypothesis n0 : (0 < n)%N.
Local Notation one := (ones R n).

(* X of full column rank, a known bias B: P = softmax(logits + B) for a head of size k iff
   rank C (log P - B) <= k *)
Theorem known_bias_iff d k s (X : 'M[R]_(d, n)) (B P : 'M[R]_n) : s != 0 -> \rank X = n -> stochastic P ->
  (exists Wk Wq : 'M_(k, d), softmax (logits s X Wk Wq + B)%R = P) <->
  (\rank (centre R n *m (logm P - B)%R) <= k)%N.
Proof.
move=> s0 rX sP; apply: iff_trans (head_of_size (nR0 R n0) _ _ rX).
have e L : softmax (L + B)%R = P <-> exists c : 'rV_n, L = logm P - B + one *m c.
  rewrite softmax_eq //; split=> -[c h]; exists c.
    by rewrite -[LHS](addrK B) h addrAC.
  by rewrite h addrAC subrK.
split=> [[Wk [Wq /e [c h]]] | [Wk [Wq [c h]]]].
  by exists Wk, (s *: Wq), c; rewrite -h /logits -scalemxAl -scalemxAr.
exists Wk, (s^-1 *: Wq); apply/e; exists c.
by rewrite /logits -scalemxAl -scalemxAr scalerA divff // scale1r.
Qed.

(* talking heads, logits mixed before the softmax, X of full column rank: h heads of size k with weights
   a_i <> 0 have P together iff logrank P <= h k *)
Theorem talking_heads d h k s (a : 'I_h -> R) (X : 'M[R]_(d, n)) (P : 'M[R]_n) :
  s != 0 -> (forall i, a i != 0) -> \rank X = n -> stochastic P ->
  (exists Wk Wq : 'I_h -> 'M_(k, d), softmax (\sum_i a i *: logits s X (Wk i) (Wq i)) = P) <->
  (logrank P <= h * k)%N.
Proof.
move=> s0 a0 rX sP; have hk : (\sum_(i < h) k = h * k)%N by rewrite sum_nat_const card_ord.
split=> [[Wk [Wq /(softmax_eq _ sP) [c e]]] | ].
  rewrite -hk; apply: leq_trans (logrank_le (nR0 R n0) _ c) _; rewrite -e.
  have -> : \sum_i a i *: logits s X (Wk i) (Wq i) =
      (\mxrow_i (Wk i *m X)^T) *m (\mxcol_i (a i *: (s *: (Wq i *m X)))).
    by rewrite mul_mxrow_mxcol; apply: eq_bigr => i _; rewrite -!scalemxAr.
  exact: leq_trans (mxrankM_maxl _ _) (rank_leq_col _).
rewrite -hk => /rank_factor [U [V UV]].
have /row_fullP [Y YX] : row_full X by rewrite /row_full rX.
exists (fun i => (submxrow U i)^T *m Y), (fun i => (a i * s)^-1 *: (submxcol V i *m Y)).
have [c hc] := logrank_attained (logm P).
apply/(softmax_eq _ sP); exists c; rewrite hc -UV -{2}[U]submxrowK -{2}[V]submxcolK mul_mxrow_mxcol.
apply: eq_bigr => i _; rewrite /logits -!mulmxA -scalemxAl -mulmxA YX !mulmx1 trmxK -scalemxAr !scalerA.
by rewrite divff ?scale1r // mulf_neq0.
Qed.

(* ALiBi without a mask, -m |i - j|, m <> 0: log-rank n - 1, though keys and queries are 0 *)
Definition distance : 'M[R]_n := \matrix_(i, j) `|i%:R - j%:R|.

Lemma distE (i j : 'I_n) : distance i j = (i - j + (j - i))%:R.
Proof.
rewrite mxE; case/orP: (leq_total i j) => le.
  by rewrite distrC -natrB // ger0_norm ?ler0n // (_ : i - j = 0)%N // ; apply/eqP; rewrite subn_eq0.
by rewrite -natrB // ger0_norm ?ler0n // (_ : j - i = 0)%N ?addn0 //; apply/eqP; rewrite subn_eq0.
Qed.

Lemma distance_free : (1 < n)%N -> row_free distance.
Proof.
move=> n1; apply: inj_row_free => u uD.
have uDj (j : 'I_n) : \sum_i u 0 i * (i - j + (j - i))%:R = 0.
  have /matrixP/(_ 0 j) := uD; rewrite mxE [RHS]mxE; apply: etrans.
  by apply: eq_bigr => i _; rewrite distE.
have inner (j : 'I_n) : (0 < j)%N -> (j.+1 < n)%N -> u 0 j = 0.
  move=> j0 j1; have jm : (j.-1 < n)%N by apply: leq_ltn_trans (leq_pred j) _.
  have : \sum_i u 0 i * ((i == j) * 2)%:R = 0.
    have := uDj (Ordinal j1); have := uDj (Ordinal jm); have := uDj j => e0 e1 e2.
    have : (\sum_i u 0 i * (i - j.+1 + (j.+1 - i))%:R + \sum_i u 0 i * (i - j.-1 + (j.-1 - i))%:R)
      - (\sum_i u 0 i * (i - j + (j - i))%:R) *+ 2 = 0 by rewrite e0 e1 e2 mul0rn subr0 addr0.
    apply: etrans; rewrite -sumrMnl -big_split -sumrB; apply: eq_bigr => i _ /=.
    rewrite -mulrnAr -mulrDr -mulrBr; congr (_ * _); apply/eqP.
    rewrite eq_sym subr_eq -mulrnA -!natrD; apply/eqP; congr (_%:R).
    by rewrite -val_eqE /=; case: eqP => e; lia.
  rewrite (bigD1 j) //= eqxx big1 ?addr0 => [/eqP|i /negPf ->]; last by rewrite mul0n mulr0.
  by rewrite mulf_eq0 pnatr_eq0 orbF => /eqP.
have n1' : (n.-1 < n)%N by rewrite prednK.
pose first := Ordinal n0; pose last := Ordinal n1'.
have ends (j : 'I_n) : j != first -> j != last -> u 0 j = 0.
  by rewrite -!val_eqE /= => jf jl; apply: inner; have := ltn_ord j; lia.
have fl : first != last by rewrite -val_eqE /=; lia.
have nz : (n.-1%:R : R) != 0 by rewrite pnatr_eq0; lia.
have ul : u 0 last = 0.
  have /eqP := uDj first; rewrite (bigD1 last) //= big1 ?addr0 => [|j jl].
    by rewrite subn0 sub0n addn0 mulf_eq0 (negPf nz) orbF => /eqP.
  case: (eqVneq j first) => [-> | jf]; first by rewrite subnn addn0 mulr0.
  by rewrite ends // mul0r.
have uf : u 0 first = 0.
  have /eqP := uDj last; rewrite (bigD1 first) //= big1 ?addr0 => [|j jl].
    by rewrite subn0 sub0n add0n mulf_eq0 (negPf nz) orbF => /eqP.
  case: (eqVneq j last) => [-> | jf]; first by rewrite subnn addn0 mulr0.
  by rewrite ends // mul0r.
apply/rowP => j; rewrite mxE; case: (eqVneq j first) => [-> // | jf].
by case: (eqVneq j last) => [-> // | jl]; apply: ends.
Qed.

Theorem alibi_bidirectional (m : R) : m != 0 -> logrank (softmax (- m *: distance)) = n.-1.
Proof.
move=> m0; have sP := softmax_stochastic (- m *: distance) n0.
have [c h] := (softmax_eq _ sP).1 erefl.
rewrite /logrank -(centre_gauge (nR0 R n0) _ c) -h -scalemxAr mxrank_scale_nz ?oppr_eq0 //.
case: (ltnP 1 n) => n1; first by rewrite mxrankMfree ?distance_free // rank_centre.
apply/eqP; rewrite eqn_leq -ltnS prednK // logrank_lt ?nR0 //=.
by apply: (@leq_trans 0%N) => //; lia.
Qed.

(* so a table of relative biases b(i - j), as in T5, can bring the log-rank to n - 1 whatever the head size *)
Corollary relative_table : exists b : int -> R,
  logrank (softmax (\matrix_(i < n, j < n) b (i%:Z - j%:Z))) = n.-1.
Proof.
exists (fun t => - `|t%:~R|); rewrite -(alibi_bidirectional (oner_neq0 R)); congr (logrank (softmax _)).
by apply/matrixP => i j; rewrite !mxE mulN1r rmorphB.
Qed.
End Known.
